//! The modules of Chameleon as flows with typed ports. They do no work: what is measured is which may run, and when.

/// An inventory, and the flow that runs a plan of it.
pub(crate) struct Pipeline {
    pub(crate) flow: &'static str,
    pub(crate) modules: &'static [(&'static str, &'static str)],
}

/// A module: what it reads, and under which name it writes.
macro_rules! module {
    ($name:literal: $( $input:ident: $ty:literal ),+ => $output:ident) => {
        (
            $name,
            concat!(
                "flow: ", $name, "\ninputs:\n",
                $( "  ", stringify!($input), ": \"", $ty, "\"\n", )+
                "nodes:\n  w:\n    op: test.work\n    in:\n",
                $( "      ", stringify!($input), ": \"first(inputs.", stringify!($input), ", '')\"\n", )+
                "outputs: { ", stringify!($output), ": w.text }\n",
            ),
        )
    };
}

/// `TabMWP`: questions about tables. An answer needs a solution, and a program is executed once it was verified.
pub(crate) const TABMWP: Pipeline = Pipeline {
    flow: "flow: tabmwp
inputs: { question: text, table: text, plan: plan }
nodes:
  work:
    plan: inputs.plan
    in: { question: inputs.question, table: inputs.table }
    allow:
      - row_lookup
      - column_lookup
      - table_verbalizer
      - knowledge_retrieval
      - program_generator
      - program_verifier
      - program_executor
      - solution_generator
      - answer_generator
    outputs: { answer: text }
    order:
      program_verifier: program_generator
      program_executor: [program_generator, program_verifier]
    must: answer_generator
    fallback:
      nodes:
        program_generator: { flow: program_generator, in: { question: inputs.question, table: inputs.table } }
        program_verifier: { flow: program_verifier, in: { program: program_generator.program } }
        program_executor: { flow: program_executor, in: { verified: program_verifier.verified } }
        answer_generator: { flow: answer_generator, in: { solution: program_executor.solution } }
      outputs: { answer: answer_generator.answer }
outputs: { answer: work.answer, fell_back: work.fell_back }
",
    modules: &[
        module!("row_lookup": question: "text", table: "text" => table),
        module!("column_lookup": question: "text", table: "text" => table),
        module!("table_verbalizer": table: "text" => context),
        module!("knowledge_retrieval": question: "text" => knowledge),
        module!("program_generator": question: "text", table: "text", context: "text?", knowledge: "text?" => program),
        module!("program_verifier": program: "text" => verified),
        module!("program_executor": verified: "text" => solution),
        module!("solution_generator": question: "text", table: "text", context: "text?", knowledge: "text?" => solution),
        module!("answer_generator": solution: "text" => answer),
    ],
};

/// `ScienceQA`: questions with images. A search needs a query that was made for it.
pub(crate) const SCIENCEQA: Pipeline = Pipeline {
    flow: "flow: scienceqa
inputs: { question: text, image: text, plan: plan }
nodes:
  work:
    plan: inputs.plan
    in: { question: inputs.question, image: inputs.image }
    allow:
      - image_captioner
      - text_detector
      - knowledge_retrieval
      - query_generator
      - bing_search
      - solution_generator
      - answer_generator
    outputs: { answer: text }
    order: { bing_search: query_generator, answer_generator: solution_generator }
    must: [solution_generator, answer_generator]
    fallback:
      nodes:
        solution_generator: { flow: solution_generator, in: { question: inputs.question } }
        answer_generator: { flow: answer_generator, in: { solution: solution_generator.solution } }
      outputs: { answer: answer_generator.answer }
outputs: { answer: work.answer, fell_back: work.fell_back }
",
    modules: &[
        module!("image_captioner": image: "text" => caption),
        module!("text_detector": image: "text" => words),
        module!("knowledge_retrieval": question: "text", caption: "text?", words: "text?" => knowledge),
        module!("query_generator": question: "text", caption: "text?", words: "text?" => query),
        module!("bing_search": query: "text" => results),
        module!("solution_generator": question: "text", caption: "text?", words: "text?", knowledge: "text?", results: "text?" => solution),
        module!("answer_generator": solution: "text" => answer),
    ],
};
