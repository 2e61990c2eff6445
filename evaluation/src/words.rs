//! Texts as words, in the two ways in which answers are compared.

/// The words by which answers are equal: lower case, punctuation taken out, without articles.
///
/// `The U.S.` is `us`, `1,000` is `1000`. A character of a script that puts no spaces between words (Han, Kana) is a
/// word of its own.
///
/// Source: the evaluation script of `SQuAD` (Rajpurkar et al. 2016), with the characters of MLQA (Lewis et al. 2020).
pub fn answer_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let part: String =
            part.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if !matches!(part.as_str(), "" | "a" | "an" | "the") {
            push_words(&part, &mut words);
        }
    }
    words
}

/// The words that a text is made of: lower case, parted by whatever is no letter and no digit.
///
/// `Paris/London` is two words, and so is `1,000`. Characters of scripts without spaces are words of their own.
///
/// Source: the tokens of the ROUGE package (Lin 2004), without its stemmer, and for all scripts.
pub fn plain_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
        push_words(&part.to_lowercase(), &mut words);
    }
    words
}

fn push_words(part: &str, words: &mut Vec<String>) {
    let mut word = String::new();
    for c in part.chars() {
        if stands_alone(c) {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            words.push(c.to_string());
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
}

/// Whether a character is of a script that puts no spaces between words: Kana, or Han.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_equal_whatever_their_case_articles_and_punctuation() {
        assert_eq!(answer_words("The U.S. Army, a  branch"), ["us", "army", "branch"]);
        assert_eq!(answer_words("1,000 $"), ["1000"]);
        assert_eq!(answer_words("the"), Vec::<String>::new());
        assert_eq!(answer_words("308分 of 圣母"), ["308", "分", "of", "圣", "母"]);
        assert_eq!(answer_words("Ünïcode’s"), ["ünïcodes"]);
    }

    #[test]
    fn plain_words_are_parted_by_punctuation() {
        assert_eq!(plain_words("Paris/London: 1,000"), ["paris", "london", "1", "000"]);
        assert_eq!(plain_words(" -- "), Vec::<String>::new());
    }
}
