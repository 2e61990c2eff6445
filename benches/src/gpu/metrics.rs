//! What the server says of itself, under vLLM's names.

use std::fmt::{Display, Write as _};

use super::{BLOCK_TOKENS, Gpu};

impl Gpu {
    /// The text of `/metrics`, as vLLM has it since version 0.11: `kv_cache_usage_perc` was `gpu_cache_usage_perc`
    /// before.
    pub fn metrics(&self) -> String {
        let (stats, n_cached) = {
            let state = self.lock();
            (state.stats, state.cache.len())
        };
        let labels = format!("{{engine=\"0\",model_name=\"{}\"}}", self.settings().model);
        let mut text = String::new();
        let mut add = |kind: &str, name: &str, help: &str, value: &dyn Display| {
            let family = name.trim_end_matches("_total");
            let _unfailing = writeln!(
                text,
                "# HELP vllm:{family} {help}\n# TYPE vllm:{family} {kind}\nvllm:{name}{labels} {value}"
            );
        };
        let capacity = self.settings().cache_blocks.map_or(f64::INFINITY, |blocks| blocks.get() as f64);
        let usage = (stats.blocks as f64 / capacity).min(1.0);
        add("gauge", "num_requests_running", "Calls with a slot.", &stats.running);
        add("gauge", "num_requests_waiting", "Calls that wait for a slot.", &stats.waiting);
        add("gauge", "kv_cache_usage_perc", "Share of the cache that calls with a slot use, 0 to 1.", &usage);
        add("counter", "prompt_tokens_total", "Tokens of prompts.", &stats.prompt_tokens);
        add("counter", "generation_tokens_total", "Tokens written.", &stats.completion_tokens);
        add("counter", "prefix_cache_queries_total", "Tokens looked for in the cache.", &stats.prompt_tokens);
        add("counter", "prefix_cache_hits_total", "Tokens found there.", &stats.cached_tokens);
        add("counter", "request_success_total", "Calls answered.", &stats.answered);
        // Not vLLM's: what stays in the cache when nothing runs.
        let _unfailing = writeln!(
            text,
            "# TYPE simulated:cached_tokens gauge\nsimulated:cached_tokens{labels} {}",
            n_cached * BLOCK_TOKENS
        );
        text
    }
}
