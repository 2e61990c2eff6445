//! Names of attributes: OpenTelemetry's conventions for generative AI and `OpenInference`'s, side by side, since each
//! backend reads one of them; and our own, which begin with `anabranch.`.
//!
//! Sources: <https://opentelemetry.io/docs/specs/semconv/gen-ai/> and
//! <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>.

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $text;)+
    };
}

names! {
    /// What kind of step: `CHAIN`, `LLM`, `RETRIEVER`, `RERANKER`, `EMBEDDING`, `TOOL`, `AGENT`, `GUARDRAIL`,
    /// `EVALUATOR`.
    KIND = "openinference.span.kind";
    /// What it read.
    INPUT = "input.value";
    /// In which form.
    INPUT_TYPE = "input.mime_type";
    /// What it gave.
    OUTPUT = "output.value";
    /// In which form.
    OUTPUT_TYPE = "output.mime_type";
    /// The conversation.
    SESSION = "session.id";
    /// Who: the id of the API key.
    USER = "user.id";
    /// What else there is to say of the job, as JSON.
    METADATA = "metadata";
    /// Place of the node in the run's graph.
    NODE_ID = "graph.node.id";
    /// What it is called.
    NODE_NAME = "graph.node.name";
    /// What it is inside of.
    NODE_PARENT = "graph.node.parent_id";

    /// `invoke_workflow`, `chat`, `embeddings`, `retrieval`, `invoke_agent`, `execute_tool`.
    OPERATION = "gen_ai.operation.name";
    /// The flow.
    WORKFLOW = "gen_ai.workflow.name";
    /// The conversation.
    CONVERSATION = "gen_ai.conversation.id";
    /// Whose interface the server has.
    PROVIDER = "gen_ai.provider.name";
    /// The model that was asked.
    REQUEST_MODEL = "gen_ai.request.model";
    /// The model that answered.
    RESPONSE_MODEL = "gen_ai.response.model";
    /// Sampling temperature.
    TEMPERATURE = "gen_ai.request.temperature";
    /// Most tokens to write.
    MAX_TOKENS = "gen_ai.request.max_tokens";
    /// Seed of the sampling.
    SEED = "gen_ai.request.seed";
    /// Texts that end the answer.
    STOP = "gen_ai.request.stop_sequences";
    /// Why the answer ends.
    FINISH = "gen_ai.response.finish_reasons";
    /// Tokens read.
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    /// Tokens written.
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    /// Tokens read from the server's cache.
    CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens";
    /// Messages of the request, as JSON.
    INPUT_MESSAGES = "gen_ai.input.messages";
    /// Messages of the answer, as JSON.
    OUTPUT_MESSAGES = "gen_ai.output.messages";
    /// The index that is searched.
    DATA_SOURCE = "gen_ai.data_source.id";
    /// The tool.
    TOOL = "gen_ai.tool.name";
    /// What it is called with, as JSON.
    TOOL_ARGUMENTS = "gen_ai.tool.call.arguments";
    /// The node in which a model calls tools.
    AGENT = "gen_ai.agent.name";
    /// What kind of failure.
    ERROR = "error.type";

    /// The model.
    LLM_MODEL = "llm.model_name";
    /// How it was asked, as JSON.
    LLM_PARAMETERS = "llm.invocation_parameters";
    /// Tokens read.
    LLM_PROMPT = "llm.token_count.prompt";
    /// Of these, from the server's cache.
    LLM_CACHED = "llm.token_count.prompt_details.cache_read";
    /// Tokens written.
    LLM_COMPLETION = "llm.token_count.completion";
    /// Both.
    LLM_TOTAL = "llm.token_count.total";
    /// What it cost.
    LLM_COST = "llm.cost.total";
    /// The embedder.
    EMBEDDING_MODEL = "embedding.model_name";
    /// The reranker: not under a name of language models, which Langfuse would count as one.
    RERANKER_MODEL = "reranker.model_name";
    /// What is ranked by.
    RERANKER_QUERY = "reranker.query";
    /// The tool.
    TOOL_NAME = "tool.name";

    /// The job.
    JOB = "anabranch.job.id";
    /// The tenant.
    TENANT = "anabranch.tenant";
    /// The flow.
    FLOW = "anabranch.flow";
    /// How the job ended.
    STATUS = "anabranch.status";
    /// Where in the run: `hop[2]/search`.
    SCOPE = "anabranch.scope";
    /// The operator.
    OPERATOR = "anabranch.operator";
    /// Which attempt, from 1.
    ATTEMPT = "anabranch.attempt";
    /// Milliseconds for which it waited for a free place.
    QUEUED = "anabranch.queued_ms";
    /// Milliseconds for which the run waited for an answer of somebody.
    WAITED = "anabranch.waited_ms";
    /// Which turn, from 1, or item, from 0.
    INDEX = "anabranch.index";
    /// Turns or items that ended well.
    PARTS = "anabranch.parts";
    /// What flows call the model or encoder.
    MODEL = "anabranch.model";
    /// Milliseconds until the model began to answer.
    FIRST_TOKEN = "anabranch.first_token_ms";
    /// Whether tokens and cost are what was held for the call, and so the most that it can have taken: nobody heard its
    /// end.
    IS_ESTIMATE = "anabranch.usage.is_estimate";
    /// Whether an identical call's answer stood in.
    SHARED = "anabranch.shared";
    /// What a call of an encoder cost.
    COST = "anabranch.cost";
    /// Texts that an encoder read.
    TEXTS = "anabranch.texts";
    /// Documents that there were, where only the first are told.
    DOCUMENTS = "anabranch.documents";
}
