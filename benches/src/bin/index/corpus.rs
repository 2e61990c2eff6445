//! Chunks that are made up but built like real ones: words by Zipf's law, topics that chunks and vectors share.

use fastrand::Rng;

/// Numbers in a vector.
pub(crate) const DIMENSIONS: usize = 384;
/// Chunks of a document.
pub(crate) const CHUNKS_PER_DOCUMENT: usize = 10;

const VOCABULARY: usize = 60_000;
const TOPICS: usize = 200;
/// Words that a topic prefers, and how often a word is one of them.
const TOPIC_WORDS: usize = 400;
const TOPIC_SHARE: f64 = 0.35;
/// Fewest and most words of a chunk.
const WORDS: std::ops::RangeInclusive<usize> = 90..=150;
/// Fewest and most words of a question.
const QUESTION_WORDS: std::ops::RangeInclusive<usize> = 3..=8;
/// How far a chunk is from the middle of its topic, and a question from its chunk.
const CHUNK_NOISE: f32 = 1.0;
const QUESTION_NOISE: f32 = 0.5;

/// A made-up chunk.
pub(crate) struct Made {
    pub(crate) topic: usize,
    pub(crate) text: String,
    pub(crate) vector: Vec<f32>,
}

/// What is asked: the words and the vector of one question.
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) vector: Vec<f32>,
}

/// Makes chunks; the same ones for the same seed, in any order.
pub(crate) struct Corpus {
    seed: u64,
    words: Vec<String>,
    /// Sums of the words' shares.
    shares: Vec<f64>,
    topics: Vec<Topic>,
}

struct Topic {
    words: Vec<usize>,
    shares: Vec<f64>,
    middle: Vec<f32>,
}

impl Corpus {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let words = (0..VOCABULARY).map(word).collect();
        let topics = std::iter::repeat_with(|| Topic {
            words: std::iter::repeat_with(|| rng.usize(..VOCABULARY)).take(TOPIC_WORDS).collect(),
            shares: shares(TOPIC_WORDS, 5.0),
            middle: noise(&mut rng, 1.0),
        });
        let topics = topics.take(TOPICS).collect();
        // Stop words are left out by any index, so the first words here stand where theirs end.
        Self { seed, words, shares: shares(VOCABULARY, 30.0), topics }
    }

    /// The chunk with this number.
    pub(crate) fn chunk(&self, n: usize) -> Made {
        let mut rng = self.rng(n, 1);
        // The chunks of a document are of one topic.
        let topic = self.rng(n / CHUNKS_PER_DOCUMENT, 2).usize(..TOPICS);
        let mut text = String::new();
        let mut middle: &[f32] = &[];
        if let Some(topic) = self.topics.get(topic) {
            middle = &topic.middle;
            for n in 0..rng.usize(WORDS) {
                let word = if rng.f64() < TOPIC_SHARE {
                    topic.words.get(draw(&mut rng, &topic.shares)).copied().unwrap_or_default()
                } else {
                    draw(&mut rng, &self.shares)
                };
                text.push_str(if n == 0 { "" } else { " " });
                text.push_str(self.words.get(word).map_or("", String::as_str));
            }
        }
        let vector = moved(middle, &noise(&mut rng, CHUNK_NOISE));
        Made { topic, text, vector }
    }

    /// A question about one of the first `n_chunks` chunks: some of its words, and a vector nearby.
    pub(crate) fn question(&self, n: usize, n_chunks: usize) -> Question {
        let mut rng = self.rng(n, 3);
        let about = self.chunk(rng.usize(..n_chunks.max(1)));
        let words: Vec<&str> = about.text.split(' ').collect();
        let n_words = rng.usize(QUESTION_WORDS);
        let asked: Vec<&str> = std::iter::repeat_with(|| words.get(rng.usize(..words.len())).copied())
            .take(n_words)
            .flatten()
            .collect();
        let text = asked.join(" ");
        Question { text, vector: moved(&about.vector, &noise(&mut rng, QUESTION_NOISE)) }
    }

    fn rng(&self, n: usize, purpose: u64) -> Rng {
        Rng::with_seed(blake3_u64(&[self.seed, n as u64, purpose]))
    }
}

fn blake3_u64(numbers: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A word that no stemmer touches, the same for the same number.
fn word(mut n: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "co", "du", "fa", "go", "hu", "ka", "lo", "mu", "na", "po", "ru", "sa", "to", "vu", "wa", "xo",
        "zu", "cha", "pro",
    ];
    let mut word = String::new();
    for _ in 0..4 {
        word.push_str(SYLLABLES.get(n % SYLLABLES.len()).copied().unwrap_or_default());
        n /= SYLLABLES.len();
    }
    word
}

/// Running sums of the shares that Zipf's law gives to `n` words, the first of them flattened by `shift`.
fn shares(n: usize, shift: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=n)
        .map(|rank| {
            sum += (rank as f64 + shift).powf(-1.05);
            sum
        })
        .collect();
    for share in &mut shares {
        *share /= sum;
    }
    shares
}

fn draw(rng: &mut Rng, shares: &[f64]) -> usize {
    let point = rng.f64();
    shares.partition_point(|share| *share < point).min(shares.len().saturating_sub(1))
}

/// Some direction, as long as a vector of `size` times unit length is on average.
fn noise(rng: &mut Rng, size: f32) -> Vec<f32> {
    // Of uniform numbers from -1 to 1 each has a square of a third on average.
    let scale = size * (3.0 / DIMENSIONS as f32).sqrt();
    std::iter::repeat_with(|| (rng.f32() * 2.0 - 1.0) * scale).take(DIMENSIONS).collect()
}

fn moved(from: &[f32], by: &[f32]) -> Vec<f32> {
    let sum: Vec<f32> = from.iter().zip(by).map(|(a, b)| a + b).collect();
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    sum.iter().map(|x| x / length).collect()
}
