//! Why a folder holds no model that can be used here.

use std::path::PathBuf;

/// Why a folder holds no model that can be used here.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file is not there.
    #[error(
        "`{folder}` is no folder of an embedding model: it has no `{file}`; \
         `config.json`, `tokenizer.json` and `model.safetensors` belong there",
        folder = folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What is not there.
        file: &'static str,
    },
    /// A file cannot be read.
    #[error("`{path}` cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any of a model that a CPU can serve.
    #[error("`{path}` has more than {max_bytes} bytes, the most that is read of it", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        max_bytes: u64,
    },
    /// A file does not say what it should.
    #[error("`{path}` is no such file of an embedding model", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The model needs what is not built in.
    #[error("`{path}` asks for {found}; only {known} can be run here", path = path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What it asks for.
        found: String,
        /// What there is.
        known: &'static str,
    },
    /// The tokenizer cannot be made.
    #[error("`{path}` describes no tokenizer", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The weights are not those of the model that `config.json` describes.
    #[error("`{path}` does not hold the weights that `config.json` describes", path = path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: candle_core::Error,
    },
}
