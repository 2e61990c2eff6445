//! `in`: which expression goes to which input port, and whether it may.

use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, Span, nearest, suggest};
use crate::flow::expression::Expr;
use crate::flow::reference::listed;
use crate::flow::{Entry, ExprText, NodeDecl};
use crate::operator::Port;
use crate::plan::Input;
use crate::types::Type;
use crate::value::Text;

/// An input port as a node sees it.
pub(crate) struct Wanted {
    pub(crate) name: Text,
    pub(crate) ty: Type,
    /// Whether the node cannot start without a value.
    pub(crate) required: bool,
}

impl From<&Port> for Wanted {
    fn from(port: &Port) -> Self {
        Self { name: port.name.clone(), ty: port.ty.clone(), required: !port.ty.is_optional() }
    }
}

impl From<&Input> for Wanted {
    fn from(input: &Input) -> Self {
        let required = input.default.is_none() && !input.port.ty.is_optional();
        Self { required, ..Self::from(&input.port) }
    }
}

/// The input side of whatever a node runs.
pub(crate) struct Side<'a> {
    /// What it is, for messages: ``operator `read.answer` ``.
    pub(crate) what: String,
    /// Place of the name of the operator or flow.
    pub(crate) span: Span,
    /// The ports with fixed names.
    pub(crate) ports: Vec<Wanted>,
    /// Type of all other ports, if there may be any.
    pub(crate) open: Option<&'a Type>,
}

/// A node's inputs, in the order of the ports; open ports come in the order in which they are written.
#[derive(Default)]
pub(crate) struct Wired {
    pub(crate) names: Vec<Text>,
    pub(crate) types: Vec<Type>,
    pub(crate) exprs: Vec<Option<Expr>>,
}

impl Builder<'_> {
    /// Connects `in` of a node to the ports of `side`.
    pub(crate) fn wire(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        side: &Side<'_>,
        uses: &mut Uses,
    ) -> Wired {
        let mut wired = Wired::default();
        for port in &side.ports {
            let entry = decl.inputs.iter().find(|entry| entry.key.value == *port.name);
            let expr = entry.map(|entry| self.input_port(place, decl, entry, &port.ty));
            if let Some(expr) = &expr {
                uses.add(expr, port.required);
            } else if port.required && !is_misspelt(decl, side, &port.name) {
                let message = format!(
                    "node `{}` gives nothing to `{}` of {}, which takes `{}`",
                    decl.name.value,
                    port.name,
                    side.what,
                    port.ty.required()
                );
                self.problems.push(
                    Diagnostic::new(Code::MISSING_PORT, place.file, side.span, message)
                        .hint(format!("add `{}: ...` under `in`", port.name)),
                );
            }
            wired.names.push(port.name.clone());
            wired.types.push(port.ty.clone());
            wired.exprs.push(expr);
        }
        for entry in &decl.inputs {
            if side.ports.iter().any(|port| *port.name == entry.key.value) {
                continue;
            }
            // Even an input that nobody takes is read for its own mistakes.
            let ty = side.open.unwrap_or(&Type::Any);
            let expr = self.input_port(place, decl, entry, ty);
            uses.add(&expr, side.open.is_some_and(|ty| !ty.is_optional()));
            if side.open.is_some() {
                wired.names.push(entry.key.value.as_str().into());
                wired.types.push(ty.clone());
                wired.exprs.push(Some(expr));
                continue;
            }
            let message = format!("{} has no input `{}`", side.what, entry.key.value);
            let free = side.ports.iter().map(|port| &*port.name);
            let near = suggest(&entry.key.value, free.clone(), "its inputs are");
            let hint = near.or_else(|| Some(format!("{} takes no inputs", side.what)));
            let hint = hint.map(|hint| match listed(free.map(str::to_owned)) {
                Some(list) if hint.starts_with("did you mean") => format!("{hint} its inputs are {list}"),
                _ => hint,
            });
            self.problems.push(
                Diagnostic::new(Code::UNKNOWN_PORT, place.file, entry.key.span, message).maybe_hint(hint),
            );
        }
        wired
    }

    fn input_port(&mut self, place: Place<'_>, decl: &NodeDecl, entry: &Entry<ExprText>, ty: &Type) -> Expr {
        let who = format!("node `{}`", decl.name.value);
        let expr = self.expr(place, &entry.value, &who);
        if !expr.ty.fits(ty) {
            let message = format!(
                "port `{}` of `{}` takes `{}`, but `{}` is `{}`",
                entry.key.value,
                decl.name.value,
                ty.required(),
                entry.value.text,
                expr.ty.required()
            );
            let mut diagnostic = Diagnostic::new(Code::TYPE_MISMATCH, place.file, entry.value.span, message)
                .maybe_hint(mismatch_hint(&expr.ty, ty, &entry.value.text));
            if let Some((span, label)) = place.frame.origin(&entry.value.text) {
                diagnostic = diagnostic.label(span, label);
            }
            self.problems.push(diagnostic);
        }
        expr
    }
}

/// Whether `in` has a name that no port has and that was probably meant to be `port`: it is reported itself.
fn is_misspelt(decl: &NodeDecl, side: &Side<'_>, port: &str) -> bool {
    let names = || side.ports.iter().map(|port| &*port.name);
    side.open.is_none()
        && decl
            .inputs
            .iter()
            .map(|entry| entry.key.value.as_str())
            .any(|given| names().all(|name| name != given) && nearest(given, names()) == Some(port))
}

/// What would make `found` fit, where that is plain to see.
fn mismatch_hint(found: &Type, wanted: &Type, text: &str) -> Option<String> {
    match (found.required(), wanted.required()) {
        (Type::List(item), wanted) if item.fits(wanted) => {
            Some(format!("take one of the list: `{text}[0]`, or go over it with `each: {text}`"))
        }
        (found, Type::List(item)) if found.fits(item) => Some(format!("make it a list: `[{text}]`")),
        (found, wanted) => {
            let fields = found.record()?;
            let field = fields.iter().find(|field| (field.ty)().fits(wanted))?;
            Some(format!("its field `{}` is `{}`: `{text}.{}`", field.name, (field.ty)(), field.name))
        }
    }
}
