//! Numbers as two texts write them differently: `1,000`, `1000` and `one thousand`.

use crate::words::is_ideograph;

/// Words for numbers up to twenty; the place is the number.
const SMALL: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];
const ORDINALS: [&str; 21] = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// Words that multiply the number before them, with their zeros.
const FACTORS: [(&str, usize); 5] =
    [("hundred", 2), ("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)];

/// The numbers of `text` in order, each in all forms that mean the same. Words for numbers are among them if
/// `with_words`.
pub(crate) fn numbers(text: &str, with_words: bool) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut numbers: Vec<Vec<String>> = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        let next = tokens.get(position + 1).map(|token| token.words.to_lowercase()).unwrap_or_default();
        let mut forms = Vec::new();
        if token.words.starts_with(|c: char| c.is_ascii_digit()) {
            forms = forms_of(token.words);
            // `1939–45`
            let before =
                position.checked_sub(1).and_then(|before| tokens.get(before)).filter(|_| token.after_dash);
            let century =
                before.filter(|before| before.words.len() == 4).and_then(|before| before.words.get(..2));
            if let Some(century) = century.filter(|century| token.words.len() == 2 && is_digits(century)) {
                forms.push(format!("{century}{}", token.words));
            }
        } else if with_words {
            forms.extend(in_words(&token.words.to_lowercase(), &next));
        }
        if let Some((_, zeros)) = FACTORS.iter().find(|(factor, _)| *factor == next.trim_end_matches('s')) {
            let products: Vec<String> = forms.iter().filter_map(|form| shifted(form, *zeros)).collect();
            forms.extend(products);
        }
        if !forms.is_empty() {
            numbers.push(forms);
        }
    }
    numbers
}

struct Token<'a> {
    words: &'a str,
    /// Whether a dash joins it to what stands before.
    after_dash: bool,
}

/// Words, and numbers with the points and commas within them.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = None;
    let mut after_dash = false;
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        let joins = matches!(c, '.' | ',') && is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
        if (c.is_alphanumeric() && !is_ideograph(c)) || joins {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            tokens.extend(text.get(start..at).map(|words| Token { words, after_dash }));
        }
        after_dash = matches!(c, '-' | '–' | '—');
    }
    tokens
}

/// `1,500.50` is `1500.5`; `20th` and `1990s` are their digits.
fn forms_of(token: &str) -> Vec<String> {
    let end = token.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).unwrap_or(token.len());
    let (digits, unit) = token.split_at(end);
    // `4K`, but also names such as `3sat`.
    if unit.chars().count() > 2 {
        return Vec::new();
    }
    let mut forms = vec![plain(&digits.replace(',', ""))];
    let groups: Vec<&str> = digits.split(['.', ',']).collect();
    if let [_, fraction] = groups.as_slice() {
        // Some write 1.500 for 1,500, and 1,5 for 1.5.
        let other =
            if fraction.len() == 3 { digits.replace(['.', ','], "") } else { digits.replace(',', ".") };
        forms.push(plain(&other));
    } else if groups.len() > 2 && groups.iter().skip(1).all(|group| group.len() == 3) {
        forms.push(plain(&digits.replace(['.', ','], "")));
    }
    forms.dedup();
    forms
}

/// Without zeros that do not count.
fn plain(number: &str) -> String {
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    let trimmed = number.trim_start_matches('0');
    if trimmed.is_empty() || trimmed.starts_with('.') { format!("0{trimmed}") } else { trimmed.to_owned() }
}

/// The number with its point moved `zeros` places to the right.
fn shifted(number: &str, zeros: usize) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let missing = zeros.checked_sub(fraction.len())?;
    Some(plain(&format!("{whole}{fraction}{:0<missing$}", "")))
}

/// The number that a word stands for; `twenty five` is 20 and 25.
fn in_words(word: &str, next: &str) -> Vec<String> {
    let place = |list: &[&str], word: &str| list.iter().position(|known| *known == word);
    let Some(tens) = place(&TENS, word).map(|tens| (tens + 2) * 10) else {
        let small = place(&SMALL, word).or_else(|| place(&ORDINALS, word));
        return small.into_iter().map(|n| n.to_string()).collect();
    };
    let unit = place(&SMALL, next).or_else(|| place(&ORDINALS, next)).filter(|unit| (1..10).contains(unit));
    [Some(tens), unit.map(|unit| tens + unit)].into_iter().flatten().map(|n| n.to_string()).collect()
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_mean_the_same_share_a_form() {
        for (a, b) in [
            ("1,000 people", "1000"),
            ("1.500", "1,500"),
            ("2,5", "2.50"),
            ("5 million", "5,000,000"),
            ("3.5 billion", "3500000000"),
            ("three", "3"),
            ("the twentieth century", "20th"),
            ("twenty-five", "25"),
            ("1939–45", "1945"),
            ("1990s", "1990"),
            ("two hundred", "200"),
            ("007", "7"),
            ("于1776年", "1776"),
        ] {
            let shares = |a: &[String], b: &[String]| a.iter().any(|form| b.contains(form));
            let (left, right) = (numbers(a, true), numbers(b, true));
            assert!(
                left.iter().any(|left| right.iter().any(|right| shares(left, right))),
                "{a}: {left:?} {right:?}"
            );
        }
    }

    #[test]
    fn words_count_only_where_asked_for_and_names_do_not() {
        assert_eq!(numbers("one of 2 in v3, 3.", false), [["2"], ["3"]]);
        assert!(numbers("none", true).is_empty());
    }
}
