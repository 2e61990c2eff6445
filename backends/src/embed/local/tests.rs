//! What a model folder gives, and what happens to a folder that holds none.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// The variable that names the folder of all-MiniLM-L6-v2; `.ci/test` fetches it.
const MINILM: &str = "ANABRANCH_TEST_MINILM";

fn cosine(a: &Vector, b: &Vector) -> f32 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

#[test]
fn minilm_gives_the_similarities_that_its_authors_published() {
    let folder = std::env::var_os(MINILM).unwrap_or_else(|| {
        panic!("`{MINILM}` must name the folder of all-MiniLM-L6-v2; `.ci/test` fetches it and sets it")
    });
    let model = LocalEmbedder::open(&PathBuf::from(folder)).unwrap();
    let texts = [
        "That is a happy person",
        "That is a happy dog",
        "That is a very happy person",
        "Today is a sunny day",
    ];
    let vectors = model.embed_blocking(&texts, 4).unwrap();
    for (other, expected) in [(1, 0.6946), (2, 0.9429), (3, 0.2569)] {
        let found = cosine(&vectors[0], &vectors[other]);
        assert!((found - expected).abs() < 0.0005, "{}: {found}, not {expected}", texts[other]);
    }
    assert!(vectors.iter().all(|vector| vector.len() == 384));
    assert!(model.identity().ends_with(" max_tokens=256 pooling=mean"), "{model:?}");
}

const WORDS: [&str; 12] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "f", "g", "h"];

/// A folder with a small model of random weights, which knows the words `a` to `h`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let vocab: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let special = |n: usize| json!({ "id": WORDS[n], "ids": [n], "tokens": [WORDS[n]] });
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } },
            ],
            "pair": [],
            "special_tokens": { "[CLS]": special(2), "[SEP]": special(3) },
        },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
    });
    write(&folder, "tokenizer.json", &tokenizer);
    write(&folder, "config.json", &config());
    save(&folder, &weights());
    folder
}

fn config() -> serde_json::Value {
    json!({
        "model_type": "bert", "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu",
        "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    })
}

fn write(folder: &TempDir, file: &str, content: &serde_json::Value) {
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content.to_string()).unwrap();
}

fn save(folder: &TempDir, weights: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(weights, folder.path().join("model.safetensors")).unwrap();
}

fn weights() -> HashMap<String, Tensor> {
    let mut random = 1_u64;
    let mut tensor = |shape: &[usize]| {
        let numbers = (0..shape.iter().product::<usize>()).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 40) as f32 / 8_388_608.0 - 1.0
        });
        Tensor::from_vec(numbers.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
    };
    let mut weights = HashMap::new();
    for (name, rows) in [("word", 12), ("position", 16), ("token_type", 2)] {
        weights.insert(format!("embeddings.{name}_embeddings.weight"), tensor(&[rows, 8]));
    }
    let mut layers = vec![("embeddings.LayerNorm".to_owned(), vec![8])];
    for layer in 0..2 {
        for (name, shape) in [
            ("attention.self.query", vec![8, 8]),
            ("attention.self.key", vec![8, 8]),
            ("attention.self.value", vec![8, 8]),
            ("attention.output.dense", vec![8, 8]),
            ("attention.output.LayerNorm", vec![8]),
            ("intermediate.dense", vec![16, 8]),
            ("output.dense", vec![8, 16]),
            ("output.LayerNorm", vec![8]),
        ] {
            layers.push((format!("encoder.layer.{layer}.{name}"), shape));
        }
    }
    for (name, shape) in layers {
        weights.insert(format!("{name}.weight"), tensor(&shape));
        weights.insert(format!("{name}.bias"), tensor(&shape[..1]));
    }
    weights
}

fn error(folder: &TempDir) -> String {
    let error = LocalEmbedder::open(folder.path()).unwrap_err();
    let place = folder.path().display().to_string();
    error.to_string().replace(&place, "FOLDER")
}

#[test]
fn a_vector_does_not_depend_on_the_texts_beside_it() {
    let folder = folder();
    let model = LocalEmbedder::open(folder.path()).unwrap();
    let texts = ["a", "b c d e f g h", "", "c d", "unknown words", "a"];
    let together = model.embed_blocking(&texts, 6).unwrap();
    for (n, text) in texts.iter().enumerate() {
        let alone = &model.embed_blocking(&[text], 1).unwrap()[0];
        assert!((cosine(alone, alone) - 1.0).abs() < 1e-5);
        assert!((cosine(&together[n], alone) - 1.0).abs() < 1e-5, "{text}");
    }
    assert!(cosine(&together[0], &together[1]) < 0.999);
    assert!(model.embed_blocking::<&str>(&[], 6).unwrap().is_empty());
}

#[test]
fn a_text_is_read_as_far_as_the_model_reads() {
    let folder = folder();
    write(&folder, "sentence_bert_config.json", &json!({ "max_seq_length": 10 }));
    let model = LocalEmbedder::open(folder.path()).unwrap();
    let long = "a b c d e f g h".to_owned();
    let vectors =
        model.embed_blocking(&[format!("{long} a"), format!("{long} {}", "g ".repeat(99_999)), long], 4);
    let vectors = vectors.unwrap();
    assert_eq!(vectors[0], vectors[1]);
    assert_eq!(vectors[0], vectors[2], "eight words, begin and end");
    assert!(model.identity().contains("max_tokens=10"), "{model:?}");
}

#[test]
fn the_first_token_stands_for_the_text_where_the_folder_says_so() {
    let folder = folder();
    let mean = LocalEmbedder::open(folder.path()).unwrap();
    let first = json!({ "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false });
    write(&folder, "1_Pooling/config.json", &first);
    let first = LocalEmbedder::open(folder.path()).unwrap();
    assert_ne!(mean.identity(), first.identity());
    let vectors = |model: &LocalEmbedder| model.embed_blocking(&["a b"], 1).unwrap();
    assert_ne!(vectors(&mean), vectors(&first));
}

#[test]
fn other_weights_are_another_model() {
    let folder = folder();
    let before = LocalEmbedder::open(folder.path()).unwrap().identity();
    assert_eq!(LocalEmbedder::open(folder.path()).unwrap().identity(), before);
    let mut weights = weights();
    let bias = Tensor::zeros(&[8], DType::F32, &Device::Cpu).unwrap();
    weights.insert("embeddings.LayerNorm.bias".into(), bias);
    save(&folder, &weights);
    assert_ne!(LocalEmbedder::open(folder.path()).unwrap().identity(), before);
}

#[test]
fn a_folder_without_a_model_is_refused_with_what_belongs_there() {
    let empty = tempfile::tempdir().unwrap();
    let rest = "`config.json`, `tokenizer.json` and `model.safetensors` belong there";
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = folder();
        fs::remove_file(folder.path().join(file)).unwrap();
        let said = format!("`FOLDER` is no folder of an embedding model: it has no `{file}`; {rest}");
        assert_eq!(error(&folder), said);
    }
    assert!(error(&empty).contains("it has no `config.json`"));
}

#[test]
fn a_model_that_is_not_built_in_is_refused_with_what_is() {
    for (file, content, said) in [
        ("config.json", json!({ "model_type": "mpnet" }), "a model of the type `mpnet`; only `bert`"),
        (
            "config.json",
            json!({ "hidden_act": "silu" }),
            "the activation `silu`; only `gelu`, `gelu_new` and `relu`",
        ),
        (
            "config.json",
            json!({ "position_embedding_type": "relative_key" }),
            "`relative_key` positions; only `absolute`",
        ),
        (
            "config.json",
            json!({ "num_attention_heads": 3 }),
            "8 numbers a token for 3 attention heads; only as many for each head",
        ),
        (
            "config.json",
            json!({ "num_attention_heads": 0 }),
            "8 numbers a token for 0 attention heads; only as many for each head",
        ),
        (
            "modules.json",
            json!([{ "type": "sentence_transformers.models.Transformer" }, { "type": "sentence_transformers.models.Dense" }]),
            "the module `sentence_transformers.models.Dense`; only `Transformer`, `Pooling` and `Normalize`",
        ),
        (
            "1_Pooling/config.json",
            json!({ "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true }),
            "the pooling `max_tokens + mean_tokens`; only `mean_tokens` and `cls_token`",
        ),
    ] {
        let folder = folder();
        let content = match content {
            serde_json::Value::Object(changes) if file == "config.json" => {
                let mut config = config();
                config.as_object_mut().unwrap().extend(changes);
                config
            }
            content => content,
        };
        write(&folder, file, &content);
        assert_eq!(error(&folder), format!("`FOLDER/{file}` asks for {said} can be run here"));
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let folder = folder();
    let mut weights = weights();
    save(&folder, &HashMap::from([weights.remove_entry("embeddings.LayerNorm.bias").unwrap()]));
    let said = "`FOLDER/model.safetensors` does not hold the weights that `config.json` describes";
    assert_eq!(error(&folder), said);
    fs::write(folder.path().join("model.safetensors"), b"hello").unwrap();
    assert_eq!(error(&folder), said);
    let wrong = Tensor::zeros(&[12, 9], DType::F32, &Device::Cpu).unwrap();
    weights.insert("embeddings.word_embeddings.weight".into(), wrong);
    save(&folder, &weights);
    assert_eq!(error(&folder), said);
}

#[test]
fn files_that_say_nothing_are_refused() {
    for file in ["config.json", "1_Pooling/config.json", "modules.json", "sentence_bert_config.json"] {
        let folder = folder();
        write(&folder, file, &json!(7));
        assert_eq!(error(&folder), format!("`FOLDER/{file}` is no such file of an embedding model"));
    }
    let folder = folder();
    write(&folder, "tokenizer.json", &json!({}));
    assert_eq!(error(&folder), "`FOLDER/tokenizer.json` describes no tokenizer");
}

#[test]
fn words_that_the_model_has_no_weights_for_are_garbled() {
    let folder = folder();
    let mut config = config();
    config["vocab_size"] = json!(6);
    write(&folder, "config.json", &config);
    let mut weights = weights();
    let fewer = weights["embeddings.word_embeddings.weight"].narrow(0, 0, 6).unwrap().contiguous().unwrap();
    weights.insert("embeddings.word_embeddings.weight".into(), fewer);
    save(&folder, &weights);
    let model = LocalEmbedder::open(folder.path()).unwrap();
    assert!(model.embed_blocking(&["a b"], 1).is_ok());
    let error = model.embed_blocking(&["a h"], 1).unwrap_err();
    assert!(matches!(&error, Error::Garbled { .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_gives_vectors_in_order_and_counts_tokens() {
    let folder = folder();
    let model = LocalEmbedder::open(folder.path()).unwrap();
    let texts: Vec<Text> = (1..50).map(|n| "a ".repeat(n % 7).into()).collect();
    let call = Call::keyed("key");
    let found = model.embed(&texts, Passage::Document, &call).await.unwrap();
    let n_tokens: u64 = (1..50).map(|n| n % 7 + 2).sum();
    assert_eq!(found.usage, Usage { prompt_tokens: n_tokens, ..Usage::default() });
    for (vector, text) in found.vectors.iter().zip(&texts) {
        assert!((cosine(vector, &model.embed_blocking(&[text], 1).unwrap()[0]) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn work_stops_when_nobody_waits_for_it() {
    let folder = folder();
    let model = LocalEmbedder::open(folder.path()).unwrap();
    let n_asked = std::cell::Cell::new(0);
    let is_over = || {
        n_asked.set(n_asked.get() + 1);
        n_asked.get() > 6
    };
    let error = model.model.embed(&["a", "b", "c", "d", "e"], 1, &is_over).unwrap_err();
    assert!(matches!(&error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(n_asked.get(), 7, "five texts cut into tokens, one through the model");
}

#[tokio::test]
async fn dropping_a_call_ends_its_work() {
    let folder = folder();
    let model = LocalEmbedder::open(folder.path()).unwrap();
    // Minutes of work, if it were done.
    let texts: Vec<Text> = vec!["a b c d e f g h".into(); 500_000];
    let call = Call::keyed("key");
    {
        let mut work = std::pin::pin!(model.embed(&texts, Passage::Document, &call));
        assert!(futures::poll!(work.as_mut()).is_pending(), "the work has begun on a thread of its own");
    }
    let all_turns = u32::try_from(CALLS_MAX).unwrap();
    drop(model.calls.acquire_many(all_turns).await.unwrap());
}
