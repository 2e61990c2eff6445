//! What a name in an expression means: inputs, what a loop carries, items, and outputs of nodes, scope by scope.

use std::cell::RefCell;

use crate::diagnostic::{Code, Span, nearest, suggest};
use crate::flow::expression::{Resolve, Resolved, Unresolved};
use crate::flow::{EachBody, InputDecl, KindDecl, NodeDecl};
use crate::operator::Port;
use crate::plan::Ref;
use crate::types::Type;

mod words;

pub(crate) use words::listed;
use words::{no_such, outputs_hint};

/// What a body takes from outside besides captures.
#[derive(Debug)]
pub(crate) enum Root<'a> {
    /// A flow's `inputs`.
    Flow(&'a [InputDecl]),
    /// What a loop carries.
    Turn(Vec<Port>),
    /// An each's item, under its name, and `index`.
    Item {
        /// `as:`.
        name: &'a str,
        /// Type of an item.
        ty: Type,
    },
}

/// A value of the scope around that a body uses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Capture {
    /// Where it is in the scope around.
    pub(crate) at: Ref,
    /// Its type.
    pub(crate) ty: Type,
    /// Whether something inside cannot do without it.
    pub(crate) strict: bool,
}

/// The names of one body, and through `parent` those of the bodies around it.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    parent: Option<&'a Frame<'a>>,
    root: Root<'a>,
    nodes: &'a [NodeDecl],
    /// Outputs of the nodes; `None` where something is wrong with the node, which is reported elsewhere.
    outputs: RefCell<Vec<Option<Vec<Port>>>>,
    captures: RefCell<Vec<Capture>>,
    /// Whether nodes are missing because they could not be read, which is reported elsewhere.
    gaps: bool,
}

impl<'a> Frame<'a> {
    /// The names of a body of `nodes`, whose outputs are not known yet.
    pub(crate) fn new(parent: Option<&'a Frame<'a>>, root: Root<'a>, nodes: &'a [NodeDecl]) -> Self {
        // Only the body of an each with `op` or `flow` has no nodes; anywhere else they were refused.
        let gaps = nodes.is_empty() && !matches!(root, Root::Item { .. });
        Self {
            parent,
            root,
            nodes,
            outputs: RefCell::new(vec![None; nodes.len()]),
            captures: RefCell::default(),
            gaps,
        }
    }

    /// The same names, of which some could not be read if `gaps` is true.
    pub(crate) fn with_gaps(self, gaps: bool) -> Self {
        Self { gaps: self.gaps || gaps, ..self }
    }

    /// Whether `name` may be that of a node whose own declaration is refused.
    pub(crate) fn may_be_refused(&self, name: &str) -> bool {
        let spelt_so = |node: &NodeDecl| node.name.value.to_ascii_lowercase().replace('-', "_") == name;
        self.gaps
            || self.nodes.iter().any(spelt_so)
            || self.parent.is_some_and(|parent| parent.may_be_refused(name))
    }

    /// Makes the outputs of the node at `position` known.
    pub(crate) fn define(&self, position: usize, outputs: Option<Vec<Port>>) {
        if let Some(slot) = self.outputs.borrow_mut().get_mut(position) {
            *slot = outputs;
        }
    }

    /// Says that capture `position` is used where it cannot be absent.
    pub(crate) fn mark_strict(&self, position: u32) {
        if let Some(capture) = self.captures.borrow_mut().get_mut(position as usize) {
            capture.strict = true;
        }
    }

    /// What the body takes from the scope around.
    pub(crate) fn captures(&self) -> Vec<Capture> {
        self.captures.borrow().clone()
    }

    /// Position of the node `name` of this body.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name.value == name)
    }

    /// The nodes of this body, then those of the bodies around it.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &'a [NodeDecl]> {
        std::iter::successors(Some(self), |frame| frame.parent).map(|frame| frame.nodes)
    }

    /// Names that hide nodes of this body: its item, and the item's index.
    pub(crate) fn shadowed(&self) -> Vec<&'a str> {
        if let Root::Item { name, .. } = &self.root { vec![*name, "index"] } else { Vec::new() }
    }

    /// Names of the nodes of this body.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.nodes.iter().map(|node| node.name.value.as_str())
    }

    /// Where the value of the bare path `text` is declared, with words for it.
    pub(crate) fn origin(&self, text: &str) -> Option<(Span, String)> {
        let mut path = text.split(['.', '[']).map(str::trim);
        let first = path.next()?;
        if let Some(node) = self.nodes.iter().find(|node| node.name.value == first) {
            return Some((node.name.span, format!("`{first}` is defined here")));
        }
        if let (Root::Flow(inputs), "inputs") = (&self.root, first) {
            let name = path.next()?;
            let input = inputs.iter().find(|input| input.name.value == name)?;
            return Some((input.ty.span, format!("`inputs.{name}` is `{}`", input.ty.value)));
        }
        self.parent?.origin(text)
    }

    /// The declaration of a node called `name` in a scope that cannot be reached from here.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<Elsewhere<'a>> {
        let mut top = self;
        while let Some(parent) = top.parent {
            top = parent;
        }
        elsewhere(top.nodes, name)
    }

    fn lookup(&self, path: &[&str], reader: &str) -> Result<Option<Resolved>, Unresolved> {
        if let Some(found) = self.own(path, reader)? {
            return Ok(Some(found));
        }
        let Some(parent) = self.parent else { return Ok(None) };
        let Some(found) = parent.lookup(path, reader)? else { return Ok(None) };
        Ok(Some(Resolved { at: self.capture(found.at, &found.ty), ..found }))
    }

    fn capture(&self, at: Ref, ty: &Type) -> Ref {
        let mut captures = self.captures.borrow_mut();
        let position = captures.iter().position(|capture| capture.at == at).unwrap_or_else(|| {
            captures.push(Capture { at, ty: ty.clone(), strict: false });
            captures.len() - 1
        });
        Ref::Capture(index(position))
    }

    /// Looks among the names of this body alone.
    fn own(&self, path: &[&str], reader: &str) -> Result<Option<Resolved>, Unresolved> {
        let Some((&first, rest)) = path.split_first() else { return Ok(None) };
        let second = rest.first().copied();
        match &self.root {
            Root::Flow(inputs) if first == "inputs" => {
                let names = || inputs.iter().map(|input| input.name.value.as_str());
                let found = second.and_then(|name| names().position(|known| known == name));
                let input = found.and_then(|position| Some((position, inputs.get(position)?)));
                return match input {
                    Some((position, input)) => Ok(Some(Resolved {
                        at: Ref::Input(index(position)),
                        ty: match input.default {
                            Some(_) => input.ty.value.required().clone(),
                            None => input.ty.value.clone(),
                        },
                        taken: 2,
                    })),
                    None => Err(no_such(
                        Code::UNKNOWN_INPUT,
                        reader,
                        "inputs",
                        second,
                        names(),
                        "the flow has no input",
                    )),
                };
            }
            Root::Turn(carry) if first == "carry" => {
                let names = || carry.iter().map(|port| &*port.name);
                let found = second.and_then(|name| names().position(|known| known == name));
                return match found.and_then(|position| Some((position, carry.get(position)?))) {
                    Some((position, port)) => {
                        Ok(Some(Resolved { at: Ref::Input(index(position)), ty: port.ty.clone(), taken: 2 }))
                    }
                    None => Err(no_such(
                        Code::UNKNOWN_NAME,
                        reader,
                        "carry",
                        second,
                        names(),
                        "the loop carries no",
                    )),
                };
            }
            Root::Item { name, ty } if first == *name => {
                return Ok(Some(Resolved { at: Ref::Input(0), ty: ty.clone(), taken: 1 }));
            }
            Root::Item { .. } if first == "index" => {
                return Ok(Some(Resolved { at: Ref::Input(1), ty: Type::Int, taken: 1 }));
            }
            _ => {}
        }
        let Some(node) = self.position(first) else { return Ok(None) };
        let outputs = self.outputs.borrow();
        let Some(Some(ports)) = outputs.get(node) else {
            let at = Ref::Port { node: index(node), port: 0 };
            return Ok(Some(Resolved { at, ty: Type::Any, taken: path.len().min(2) }));
        };
        let names = || ports.iter().map(|port| &*port.name);
        let Some(second) = second else {
            return Err(Unresolved {
                code: Code::UNKNOWN_OUTPUT,
                segment: 0,
                message: format!("{reader} reads `{first}`, which is a node and not a value"),
                hint: Some(match listed(names().map(|port| format!("{first}.{port}"))) {
                    Some(list) => format!("name one of its outputs: {list}"),
                    None => "it has no outputs".to_owned(),
                }),
            });
        };
        match ports.iter().enumerate().find(|(_, port)| &*port.name == second) {
            Some((position, port)) => Ok(Some(Resolved {
                at: Ref::Port { node: index(node), port: index(position) },
                ty: port.ty.clone(),
                taken: 2,
            })),
            None => Err(Unresolved {
                code: Code::UNKNOWN_OUTPUT,
                segment: 1,
                message: format!("{reader} reads `{first}.{second}`, but `{first}` has no output `{second}`"),
                hint: Some(outputs_hint(second, names())),
            }),
        }
    }

    /// `inputs` or `carry`, if `name` is one of them and only the root was left out.
    fn rooted(&self, name: &str) -> Option<&'static str> {
        let own = match &self.root {
            Root::Flow(inputs) => inputs.iter().any(|input| input.name.value == name).then_some("inputs"),
            Root::Turn(carry) => carry.iter().any(|port| &*port.name == name).then_some("carry"),
            Root::Item { .. } => None,
        };
        own.or_else(|| self.parent?.rooted(name))
    }

    /// Every name that an expression of this body can begin with.
    fn reachable(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.node_names().collect();
        match &self.root {
            Root::Flow(_) => names.push("inputs"),
            Root::Turn(_) => names.push("carry"),
            Root::Item { name, .. } => names.extend([*name, "index"]),
        }
        names.extend(self.parent.iter().flat_map(|parent| parent.reachable()));
        names
    }
}

/// A [`Frame`] as an expression of `reader` sees it: ``node `answer` ``, ``output `text` ``.
pub(crate) struct Reader<'a> {
    /// The names.
    pub(crate) frame: &'a Frame<'a>,
    /// Whose expression it is, for messages.
    pub(crate) who: &'a str,
}

impl Resolve for Reader<'_> {
    fn resolve(&self, path: &[&str]) -> Result<Resolved, Unresolved> {
        if let Some(found) = self.frame.lookup(path, self.who)? {
            return Ok(found);
        }
        let first = path.first().copied().unwrap_or_default();
        let unresolved = |code, message, hint| Unresolved { code, segment: 0, message, hint };
        if let Some(place) = self.frame.elsewhere(first) {
            let inside = place.owner.name.value.as_str();
            let (what, hint) = match place.owner.kind {
                KindDecl::Loop(_) => (
                    "loop",
                    format!(
                        "carry the value out: give it a name under `carry` and `next` of `{inside}`, and read `{inside}.<name>`"
                    ),
                ),
                _ => (
                    "each",
                    format!("give it a name under `outputs` of `{inside}`, and read `{inside}.<name>`"),
                ),
            };
            return Err(unresolved(
                Code::OTHER_SCOPE,
                format!(
                    "{} reads `{}`, but `{first}` is inside the {what} `{inside}`",
                    self.who,
                    path.join(".")
                ),
                Some(hint),
            ));
        }
        if first == "carry" {
            return Err(unresolved(
                Code::UNKNOWN_NAME,
                format!("{} reads `{}`, but `carry` is known only inside a loop", self.who, path.join(".")),
                Some("from outside, a carried value is an output of the loop: `<loop>.<name>`".to_owned()),
            ));
        }
        let is_near =
            || nearest(first, self.frame.reachable()).is_some_and(|near| near == near.to_lowercase());
        if self.frame.may_be_refused(first) && !is_near() {
            return Ok(Resolved { at: Ref::Input(0), ty: Type::Any, taken: path.len() });
        }
        let hint = match self.frame.rooted(first) {
            Some(root) => Some(format!("did you mean `{root}.{first}`?")),
            None => suggest(first, self.frame.reachable(), "in reach are"),
        };
        let message = format!("{} reads `{}`, but there is no `{first}`", self.who, path.join("."));
        Err(unresolved(Code::UNKNOWN_NAME, message, hint))
    }
}

/// A node in a scope that cannot be reached.
pub(crate) struct Elsewhere<'a> {
    /// The node.
    pub(crate) node: &'a NodeDecl,
    /// The loop or each that it is in.
    pub(crate) owner: &'a NodeDecl,
}

fn elsewhere<'a>(nodes: &'a [NodeDecl], name: &str) -> Option<Elsewhere<'a>> {
    nodes.iter().find_map(|owner| {
        let inner = inner_nodes(owner);
        let here = inner.iter().find(|node| node.name.value == name).map(|node| Elsewhere { node, owner });
        here.or_else(|| elsewhere(inner, name))
    })
}

/// The nodes that stand inside a loop or each.
pub(crate) fn inner_nodes(node: &NodeDecl) -> &[NodeDecl] {
    match &node.kind {
        KindDecl::Loop(decl) => &decl.nodes,
        KindDecl::Each(decl) => match &decl.body {
            EachBody::Nodes(nodes) => nodes,
            EachBody::Op(_) | EachBody::Flow(_) => &[],
        },
        // What stands in for a plan has names of its own, as a flow has.
        KindDecl::Op(_) | KindDecl::Flow(_) | KindDecl::Wait(_) | KindDecl::Plan(_) | KindDecl::Unknown => {
            &[]
        }
    }
}

/// Accepts every name and remembers where paths begin: which nodes an expression mentions, before types are known.
#[derive(Debug, Default)]
pub(crate) struct Mentions(pub(crate) RefCell<Vec<String>>);

impl Resolve for Mentions {
    fn resolve(&self, path: &[&str]) -> Result<Resolved, Unresolved> {
        self.0.borrow_mut().extend(path.first().map(|&name| name.to_owned()));
        Ok(Resolved { at: Ref::Input(0), ty: Type::Any, taken: path.len() })
    }
}

/// A position as plans store it. Flows are bounded far below `u32::MAX` nodes and ports.
pub(crate) fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
