//! Port structs: one field a port, with its type and documentation taken from the same line.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::operator::OpError;
use crate::types::Type;
use crate::value::{Map, Text, Value};

/// A port of an operator, or an input or output of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: Text,
    /// Its type; optional where it may stay empty.
    pub ty: Type,
    /// What it holds.
    pub doc: Text,
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut port = serializer.serialize_struct("Port", 3)?;
        port.serialize_field("name", &*self.name)?;
        port.serialize_field("type", &self.ty.to_string())?;
        port.serialize_field("about", &*self.doc)?;
        port.end()
    }
}

/// The ports on one side of an operator.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PortSet {
    /// The ports with fixed names, in order.
    pub ports: Vec<Port>,
    /// The type of ports with any other name, if those are taken.
    pub open: Option<Type>,
}

impl PortSet {
    /// Position and description of the port `name`.
    pub fn find(&self, name: &str) -> Option<(usize, &Port)> {
        self.ports.iter().enumerate().find(|(_, port)| &*port.name == name)
    }

    /// The names of the fixed ports.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ports.iter().map(|port| &*port.name)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports: Vec<String> =
            self.ports.iter().map(|port| format!("{}: {}", port.name, port.ty)).collect();
        ports.extend(self.open.iter().map(|ty| format!("...: {ty}")));
        f.write_str(&ports.join(", "))
    }
}

/// A struct whose fields are ports; written with [`ports!`](crate::ports).
pub trait Ports: Sized + Send {
    /// The ports.
    fn set() -> PortSet;
    /// From values on ports. `names` says which port each value is for, in the order of [`Ports::set`].
    fn from_slots(names: &[Text], values: Vec<Option<Value>>) -> Result<Self, OpError>;
    /// To values, in the order of [`Ports::set`]; `None` is an absent output.
    fn into_slots(self) -> Vec<Option<Value>>;
}

/// Takes whatever ports the flow connects, by name: for operators whose settings are rules over their inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpenIn(pub Map);

impl Ports for OpenIn {
    fn set() -> PortSet {
        PortSet { ports: Vec::new(), open: Some(Type::optional(Type::Any)) }
    }

    fn from_slots(names: &[Text], values: Vec<Option<Value>>) -> Result<Self, OpError> {
        Ok(Self(names.iter().cloned().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()))
    }

    fn into_slots(self) -> Vec<Option<Value>> {
        self.0.into_values().map(Some).collect()
    }
}

/// Defines a port struct: documented fields whose types implement [`PortType`](crate::value::PortType).
///
/// ```
/// anabranch_engine::ports! {
///     /// What it reads.
///     pub struct In {
///         /// What the user asked.
///         pub question: String,
///         /// At most this many, where it matters.
///         pub limit: Option<i64>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! ports {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $field:ident : $ty:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ pub $field : $ty ),*
        }

        impl $crate::operator::Ports for $name {
            fn set() -> $crate::operator::PortSet {
                $crate::operator::PortSet {
                    ports: vec![ $( $crate::operator::Port {
                        name: stringify!($field).into(),
                        ty: <$ty as $crate::value::PortType>::ty(),
                        doc: concat!($($doc),+).trim().into(),
                    } ),* ],
                    open: None,
                }
            }

            fn from_slots(
                _names: &[$crate::value::Text],
                values: Vec<Option<$crate::value::Value>>,
            ) -> Result<Self, $crate::operator::OpError> {
                let mut values = values.into_iter();
                Ok(Self {
                    $( $field: $crate::operator::take_port(stringify!($field), values.next().flatten())? ),*
                })
            }

            fn into_slots(self) -> Vec<Option<$crate::value::Value>> {
                vec![ $( $crate::value::PortType::into_slot(self.$field) ),* ]
            }
        }
    };
}
