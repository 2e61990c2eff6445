//! `on_error`: what stands in for a node that failed must look like it.

use super::wiring::{Side, Wanted};
use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, Spanned, suggest};
use crate::flow::reference::index;
use crate::flow::{Entry, KindDecl, NodeDecl, OnErrorDecl};
use crate::limits;
use crate::operator::Port;
use crate::plan::OnError;
use crate::value::Value;

impl Builder<'_> {
    /// `on_error:` of a node with these outputs, if they are known.
    pub(crate) fn on_error(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        on_error: &Spanned<OnErrorDecl>,
        outputs: Option<&[Port]>,
    ) -> OnError {
        match &on_error.value {
            OnErrorDecl::Fail => OnError::Fail,
            OnErrorDecl::Skip => OnError::Skip,
            OnErrorDecl::Value(entries) => match outputs {
                Some(outputs) => self.on_error_value(place, decl, entries, outputs),
                None => OnError::Skip,
            },
            OnErrorDecl::Flow(name) => self.on_error_flow(place, decl, name, outputs.unwrap_or_default()),
        }
    }

    /// `on_error: {value: {...}}`.
    fn on_error_value(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        entries: &[Entry<Spanned<serde_json::Value>>],
        outputs: &[Port],
    ) -> OnError {
        let node = &decl.name.value;
        for entry in entries {
            if outputs.iter().all(|port| *port.name != entry.key.value) {
                let message =
                    format!("`on_error` gives `{}`, but `{node}` has no such output", entry.key.value);
                let names = outputs.iter().map(|port| &*port.name);
                self.problems.push(
                    Diagnostic::new(Code::ON_ERROR, place.file, entry.key.span, message).maybe_hint(suggest(
                        &entry.key.value,
                        names,
                        "its outputs are",
                    )),
                );
            }
        }
        let mut values = Vec::with_capacity(outputs.len());
        for port in outputs {
            let Some(entry) = entries.iter().find(|entry| entry.key.value == *port.name) else {
                // Absent then; `check::stand_ins` reports it if somebody reads it.
                values.push(None);
                continue;
            };
            match Value::from_json(entry.value.value.clone()).into_type(&port.ty) {
                Ok(value) => values.push(Some(value)),
                Err(mismatch) => {
                    let message = format!(
                        "`on_error` gives `{}` of `{node}` a value that it cannot have: {mismatch}",
                        port.name
                    );
                    self.report(place.file, Code::ON_ERROR, entry.value.span, message);
                    values.push(None);
                }
            }
        }
        OnError::Value(values)
    }

    /// `on_error: {flow: name}`.
    fn on_error_flow(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        name: &Spanned<String>,
        outputs: &[Port],
    ) -> OnError {
        let Some(compiled) = self.sub_flow(place.file, name) else { return OnError::Skip };
        if place.depth + compiled.height + 1 > limits::SCOPE_DEPTH {
            self.too_deep(place.file, name.span);
        }
        let side = Side {
            what: format!("flow `{}`", name.value),
            span: name.span,
            ports: compiled.body.inputs.iter().map(Wanted::from).collect(),
            open: None,
        };
        // The node may have inputs that the flow does not take; only those of the same name go there.
        // What stands on a loop or an each is not theirs but their items'.
        let is_plain =
            matches!(decl.kind, KindDecl::Op(_) | KindDecl::Flow(_) | KindDecl::Wait(_) | KindDecl::Plan(_));
        let wanted =
            |entry: &&Entry<_>| is_plain && side.ports.iter().any(|port| *port.name == entry.key.value);
        let shared =
            NodeDecl { inputs: decl.inputs.iter().filter(wanted).cloned().collect(), ..decl.clone() };
        // The node waits for its own inputs already; what stands in adds nothing to that.
        let inputs = self.wire(place, &shared, &side, &mut Uses::default()).exprs;
        let mut positions = Vec::new();
        for port in outputs {
            let found =
                compiled.body.outputs.iter().enumerate().find(|(_, output)| output.port.name == port.name);
            let problem = match found {
                Some((position, output)) if output.port.ty.fits(&port.ty) => {
                    positions.push(index(position));
                    continue;
                }
                Some((_, output)) => format!(
                    "output `{}` of `{}` is `{}`, but flow `{}` gives `{}`",
                    port.name, decl.name.value, port.ty, name.value, output.port.ty
                ),
                None => format!(
                    "flow `{}` cannot stand in for `{}`: it has no output `{}` (`{}`)",
                    name.value, decl.name.value, port.name, port.ty
                ),
            };
            self.report(place.file, Code::ON_ERROR, name.span, problem);
        }
        OnError::Flow { body: compiled.body, inputs, outputs: positions }
    }
}
