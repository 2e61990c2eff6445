//! The codes of diagnostics: one line each, and one page each in `codes/`.

use serde::{Serialize, Serializer};

use super::Severity;

/// Names a kind of problem: `FLOW0007`. Codes are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

struct Entry {
    code: Code,
    id: &'static str,
    title: &'static str,
    severity: Severity,
    page: &'static str,
}

macro_rules! codes {
    ($( $name:ident $number:literal $id:literal $severity:ident $title:literal; )+) => {
        impl Code {
            $( #[doc = $title] pub const $name: Code = Code($number); )+
        }

        /// Every code, in order.
        pub const ALL: &[Code] = &[$(Code::$name),+];

        const ENTRIES: &[Entry] = &[$( Entry {
            code: Code::$name,
            id: $id,
            title: $title,
            severity: Severity::$severity,
            page: include_str!(concat!("../codes/", $id, ".md")),
        } ),+];
    };
}

codes! {
    SYNTAX 1 "FLOW0001" Error "the YAML cannot be read";
    TAB 2 "FLOW0002" Error "a line is indented with a tab";
    DUPLICATE_KEY 3 "FLOW0003" Error "a key stands twice";
    TOO_LARGE 4 "FLOW0004" Error "the file is too large";
    TOO_DEEP 5 "FLOW0005" Error "the YAML is nested too deep";
    TOO_MANY_VALUES 6 "FLOW0006" Error "the YAML has too many values";
    ALIASES 7 "FLOW0007" Error "aliases expand too far";
    NOT_A_FLOW 8 "FLOW0008" Error "the file is no flow";
    UNKNOWN_KEY 9 "FLOW0009" Error "a key is not known here";
    MISSING_KEY 10 "FLOW0010" Error "a key is missing";
    WRONG_KIND 11 "FLOW0011" Error "a value is of the wrong kind";
    INVALID_NAME 12 "FLOW0012" Error "a name is not allowed";
    NODE_KIND 13 "FLOW0013" Error "a node has no kind, or several";
    UNKNOWN_OPERATOR 14 "FLOW0014" Error "there is no such operator";
    UNKNOWN_FLOW 15 "FLOW0015" Error "there is no such flow";
    RECURSION 16 "FLOW0016" Error "a flow calls itself";
    UNKNOWN_PORT 17 "FLOW0017" Error "the operator or flow has no such input";
    MISSING_PORT 18 "FLOW0018" Error "a required input is not given";
    UNKNOWN_SETTING 19 "FLOW0019" Error "the operator has no such setting";
    INVALID_SETTING 20 "FLOW0020" Error "a setting has a value that it cannot have";
    MISSING_SETTING 21 "FLOW0021" Error "a required setting is not given";
    UNKNOWN_NAME 22 "FLOW0022" Error "an expression names something that is not there";
    UNKNOWN_OUTPUT 23 "FLOW0023" Error "there is no such output or field";
    UNKNOWN_INPUT 24 "FLOW0024" Error "the flow has no such input";
    OTHER_SCOPE 25 "FLOW0025" Error "a reference reaches into another scope";
    TYPE_MISMATCH 26 "FLOW0026" Error "a value of the wrong type is given";
    EXPRESSION_SYNTAX 27 "FLOW0027" Error "an expression cannot be read";
    UNKNOWN_FUNCTION 28 "FLOW0028" Error "an expression calls an unknown function";
    EXPRESSION_TYPE 29 "FLOW0029" Error "an expression has the wrong type";
    EXPRESSION_SIZE 30 "FLOW0030" Error "an expression could run too long";
    CYCLE 31 "FLOW0031" Error "nodes wait for one another";
    NO_MAX_TURNS 32 "FLOW0032" Error "a loop has no bound";
    OUT_OF_RANGE 33 "FLOW0033" Error "a number is outside its limits";
    CARRY 34 "FLOW0034" Error "what a loop carries does not match";
    TEMPLATE_SYNTAX 35 "FLOW0035" Error "a template cannot be read";
    TEMPLATE_VARIABLE 36 "FLOW0036" Error "a template names an unknown variable";
    UNKNOWN_INDEX 37 "FLOW0037" Error "there is no such index";
    UNKNOWN_MODEL 38 "FLOW0038" Error "there is no such model";
    JOIN 40 "FLOW0040" Error "a join can never be met";
    UNREACHABLE 41 "FLOW0041" Warning "a node can never run";
    UNUSED 42 "FLOW0042" Warning "a node's outputs are used nowhere";
    MAYBE_ABSENT 43 "FLOW0043" Warning "a value may be absent";
    INVALID_DURATION 44 "FLOW0044" Error "a duration cannot be read";
    INVALID_TYPE 45 "FLOW0045" Error "a type cannot be read";
    INVALID_INPUT 46 "FLOW0046" Error "the declaration of an input contradicts itself";
    PROMPT_FILE 47 "FLOW0047" Error "a prompt file cannot be read";
    TEST 48 "FLOW0048" Error "a test names something that is not there";
    ON_ERROR 49 "FLOW0049" Error "what stands in for a failed node does not fit";
    TOO_MANY_NODES 50 "FLOW0050" Error "the flow has too many nodes or is nested too deep";
    AFTER 52 "FLOW0052" Error "`after` names something that is no node of the same scope";
    NO_OUTPUTS 53 "FLOW0053" Warning "the flow has no outputs";
    NEVER_TRUE 54 "FLOW0054" Warning "a comparison with a label can never hold";
    UNKNOWN_EMBEDDER 55 "FLOW0055" Error "there is no such embedder";
    UNKNOWN_RERANKER 56 "FLOW0056" Error "there is no such reranker";
    INVALID_WAIT 57 "FLOW0057" Error "the declaration of a wait contradicts itself";
    PLAN 58 "FLOW0058" Error "a plan, or the node that runs it, breaks the rules of plans";
    UNSTABLE_PROMPT 59 "FLOW0059" Error "a stable part of a prompt changes with every call";
}

impl Code {
    /// The code as users see it: `FLOW0007`.
    pub fn id(self) -> &'static str {
        self.entry().map_or("FLOW????", |entry| entry.id)
    }

    /// What it is about, in a few words.
    pub fn title(self) -> &'static str {
        self.entry().map_or("", |entry| entry.title)
    }

    /// Its severity unless `--strict` says otherwise.
    pub fn severity(self) -> Severity {
        self.entry().map_or(Severity::Error, |entry| entry.severity)
    }

    /// Its page, in Markdown: what happened, an example, what to do.
    pub fn page(self) -> &'static str {
        self.entry().map_or("", |entry| entry.page)
    }

    /// The code that users write as `id`, upper or lower case.
    pub fn find(id: &str) -> Option<Code> {
        ENTRIES.iter().find(|entry| entry.id.eq_ignore_ascii_case(id)).map(|entry| entry.code)
    }

    fn entry(self) -> Option<&'static Entry> {
        ENTRIES.iter().find(|entry| entry.code == self)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
