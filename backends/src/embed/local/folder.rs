//! Reads a model folder as sentence-transformers writes it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use candle_transformers::models::bert::{Config, HiddenAct, PositionEmbeddingType};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::{Tokenizer, TruncationParams};

use super::error::LocalError;

/// Tokens that are read of a text where the folder does not say: what all-MiniLM was trained on.
const TOKENS_DEFAULT: usize = 256;
/// Fewer would leave nothing beside the tokens for begin and end.
const TOKENS_MIN: usize = 8;
/// Largest file of weights: a model above does not run on a CPU in bearable time.
const WEIGHTS_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Largest of the other files; tokenizers for a hundred languages take 20 MB.
const JSON_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a folder holds.
pub(super) struct Folder {
    /// How the model is built.
    pub(super) config: Config,
    /// Cuts texts into tokens, no more than the model reads.
    pub(super) tokenizer: Tokenizer,
    /// Where the weights are.
    pub(super) weights_path: PathBuf,
    /// The weights.
    pub(super) weights: Vec<u8>,
    /// How the vector of a text comes from those of its tokens.
    pub(super) pooling: Pooling,
    /// Most tokens that are read of a text.
    pub(super) max_tokens: usize,
    /// Whether the model was trained on text in lower case without its tokenizer knowing.
    pub(super) is_lowered: bool,
    /// Names all of this.
    pub(super) identity: String,
}

/// How the vector of a text comes from those of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    First,
}

/// `config.json`, as far as it matters here.
#[derive(Deserialize)]
struct ModelConfig {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(default)]
    pad_token_id: usize,
    position_embedding_type: Option<String>,
}

/// `sentence_bert_config.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

/// One line of `modules.json`.
#[derive(Deserialize)]
struct Module {
    r#type: String,
}

impl Folder {
    /// Reads `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, LocalError> {
        let config: ModelConfig =
            json(folder, "config.json")?.ok_or_else(|| missing(folder, "config.json"))?;
        check_modules(folder)?;
        let pooling = pooling(folder)?;
        let sentences: SentenceConfig = json(folder, "sentence_bert_config.json")?.unwrap_or_default();
        let max_tokens = sentences.max_seq_length.unwrap_or(TOKENS_DEFAULT);
        let max_tokens = max_tokens.clamp(TOKENS_MIN, config.max_position_embeddings.max(TOKENS_MIN));
        let config = supported(&config, &folder.join("config.json"))?;
        let (tokenizer, tokenizer_hash) = tokenizer(folder, max_tokens)?;
        let weights_path = folder.join("model.safetensors");
        let weights = bytes(&weights_path, WEIGHTS_BYTES_MAX)?;
        let weights = weights.ok_or_else(|| missing(folder, "model.safetensors"))?;
        let mut hash = blake3::Hasher::new();
        hash.update(blake3::hash(&weights).as_bytes()).update(tokenizer_hash.as_bytes());
        let hash = hash.finalize().to_hex();
        let identity =
            format!("local:{} max_tokens={max_tokens} pooling={pooling:?}", hash.get(..16).unwrap_or(&hash))
                .to_lowercase();
        let is_lowered = sentences.do_lower_case;
        Ok(Self { config, tokenizer, weights_path, weights, pooling, max_tokens, is_lowered, identity })
    }
}

fn supported(config: &ModelConfig, path: &Path) -> Result<Config, LocalError> {
    let unsupported = |found: String, known| LocalError::Unsupported { path: path.to_owned(), found, known };
    let model_type = config.model_type.as_deref().unwrap_or("unnamed");
    if model_type != "bert" {
        return Err(unsupported(format!("a model of the type `{model_type}`"), "`bert`"));
    }
    if let Some(other) = config.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
        return Err(unsupported(format!("`{other}` positions"), "`absolute`"));
    }
    let hidden_act = match config.hidden_act.as_str() {
        // Exact, through the error function: the approximation moves vectors in the third digit.
        "gelu" => HiddenAct::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => HiddenAct::GeluApproximate,
        "relu" => HiddenAct::Relu,
        other => {
            return Err(unsupported(format!("the activation `{other}`"), "`gelu`, `gelu_new` and `relu`"));
        }
    };
    let n_heads = config.num_attention_heads;
    if n_heads == 0 || !config.hidden_size.is_multiple_of(n_heads) || config.hidden_size == 0 {
        let found = format!("{} numbers a token for {n_heads} attention heads", config.hidden_size);
        return Err(unsupported(found, "as many for each head"));
    }
    if config.max_position_embeddings < TOKENS_MIN {
        let found = format!("texts of at most {} tokens", config.max_position_embeddings);
        return Err(unsupported(found, "models that read 8 and more"));
    }
    Ok(Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: n_heads,
        intermediate_size: config.intermediate_size,
        hidden_act,
        max_position_embeddings: config.max_position_embeddings,
        type_vocab_size: config.type_vocab_size,
        layer_norm_eps: config.layer_norm_eps,
        pad_token_id: config.pad_token_id,
        position_embedding_type: PositionEmbeddingType::Absolute,
        model_type: Some("bert".to_owned()),
        // For training only.
        ..Config::default()
    })
}

/// Refuses folders whose vectors go through more than a transformer, pooling and the norm.
fn check_modules(folder: &Path) -> Result<(), LocalError> {
    let modules: Vec<Module> = json(folder, "modules.json")?.unwrap_or_default();
    let is_known =
        |kind: &str| ["Transformer", "Pooling", "Normalize"].iter().any(|known| kind.ends_with(known));
    match modules.into_iter().find(|module| !is_known(&module.r#type)) {
        Some(module) => Err(LocalError::Unsupported {
            path: folder.join("modules.json"),
            found: format!("the module `{}`", module.r#type),
            known: "`Transformer`, `Pooling` and `Normalize`",
        }),
        None => Ok(()),
    }
}

fn pooling(folder: &Path) -> Result<Pooling, LocalError> {
    let file = "1_Pooling/config.json";
    let Some(config) = json::<serde_json::Map<_, _>>(folder, file)? else { return Ok(Pooling::Mean) };
    let modes: Vec<&str> =
        config.iter().filter(|(_, is_on)| **is_on == true).map(|(mode, _)| mode.as_str()).collect();
    let modes: Vec<&str> = modes.into_iter().filter_map(|mode| mode.strip_prefix("pooling_mode_")).collect();
    match modes.as_slice() {
        ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::First),
        modes => Err(LocalError::Unsupported {
            path: folder.join(file),
            found: format!("the pooling `{}`", modes.join(" + ")),
            known: "`mean_tokens` and `cls_token`",
        }),
    }
}

fn tokenizer(folder: &Path, max_tokens: usize) -> Result<(Tokenizer, blake3::Hash), LocalError> {
    let path = folder.join("tokenizer.json");
    let json = bytes(&path, JSON_BYTES_MAX)?.ok_or_else(|| missing(folder, "tokenizer.json"))?;
    let wrong = |source| LocalError::Tokenizer { path: path.clone(), source };
    let mut tokenizer = Tokenizer::from_bytes(&json).map_err(wrong)?;
    // Published tokenizers pad and cut as the last training run did.
    tokenizer.with_padding(None);
    let cut = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(wrong)?;
    Ok((tokenizer, blake3::hash(&json)))
}

fn missing(folder: &Path, file: &'static str) -> LocalError {
    LocalError::Missing { folder: folder.to_owned(), file }
}

/// What `file` in `folder` says; none if it is not there.
fn json<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>, LocalError> {
    let path = folder.join(file);
    let Some(bytes) = bytes(&path, JSON_BYTES_MAX)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| LocalError::Malformed { path, source })
}

/// All of a file with at most `max_bytes`; none if it is not there.
fn bytes(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, LocalError> {
    let wrong = |source| LocalError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(wrong(error)),
    };
    let length = file.metadata().map_err(wrong)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(max_bytes)).unwrap_or_default());
    let n_read = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(wrong)?;
    if n_read as u64 > max_bytes {
        return Err(LocalError::TooLarge { path: path.to_owned(), max_bytes });
    }
    Ok(Some(bytes))
}
