//! A flow as nodes and edges, for whoever draws it.

use anabranch_engine::plan::{Body, Kind, Node, OnError, Plan};
use serde::Serialize;

/// A flow as nodes and edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Graph {
    /// Name of the flow.
    pub flow: String,
    /// The nodes, those inside others after them.
    pub nodes: Vec<GraphNode>,
    /// What waits for what.
    pub edges: Vec<GraphEdge>,
}

/// A node of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GraphNode {
    /// Its path: `answer`, `hop/search` for a node inside the loop `hop`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The node that it is inside of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What it is: `op`, `flow`, `loop`, `each`, `wait`.
    pub kind: &'static str,
    /// The operator, or the flow that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// When it runs at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// An edge of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GraphEdge {
    /// The node that is waited for.
    pub from: String,
    /// The node that waits.
    pub to: String,
    /// Whether it cannot do without.
    pub strict: bool,
}

impl Graph {
    /// The graph of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut graph = Self { flow: plan.name.to_string(), nodes: Vec::new(), edges: Vec::new() };
        graph.body(&plan.root, None);
        graph
    }

    /// Adds the nodes of a body, which the plan nests at most so deep as flows may.
    fn body(&mut self, body: &Body, parent: Option<&str>) {
        let id = |node: &Node| match parent {
            Some(parent) => format!("{parent}/{}", node.name),
            None => node.name.to_string(),
        };
        for node in &body.nodes {
            let (kind, runs, inner) = parts(node);
            self.nodes.push(GraphNode {
                id: id(node),
                name: node.name.to_string(),
                parent: parent.map(str::to_owned),
                kind,
                runs,
                about: node.about.as_deref().map(str::to_owned),
                when: node.when.as_ref().map(|when| when.source.to_string()),
            });
            for need in &node.needs {
                if let Some(from) = usize::try_from(need.node).ok().and_then(|at| body.nodes.get(at)) {
                    self.edges.push(GraphEdge { from: id(from), to: id(node), strict: need.strict });
                }
            }
            if let Some(inner) = inner {
                self.body(inner, Some(&id(node)));
            }
            if let OnError::Flow { body, .. } = &node.on_error {
                self.body(body, Some(&format!("{}/on_error", id(node))));
            }
        }
    }
}

fn parts(node: &Node) -> (&'static str, Option<String>, Option<&Body>) {
    match &node.kind {
        Kind::Op(op) => ("op", Some(op.spec.name.to_owned()), None),
        Kind::Flow { body, .. } => ("flow", body.flow.as_deref().map(str::to_owned), Some(body)),
        Kind::Loop(turn) => ("loop", None, Some(&turn.body)),
        Kind::Each(item) => ("each", None, Some(&item.body)),
        Kind::Wait(_) => ("wait", None, None),
        Kind::Plan(planned) => {
            let parts: Vec<&str> = planned.kit.inventory.parts.iter().map(|part| &*part.name).collect();
            ("plan", Some(parts.join(", ")), planned.fallback.as_deref())
        }
    }
}
