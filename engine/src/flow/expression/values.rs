//! Values on their way into `cel` and back: records stay what they are, everything else becomes `cel`'s own.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, Type as CelType,
};
use cel::common::value::{CowVal, StaticVal, Val};

use super::meter::Meter;
use super::native::absent;
use super::{Absence, Stop};
use crate::value::{Map, Text, Value};

/// A record within `cel`: its fields can be read, and it comes out as it went in.
#[derive(Debug, Clone)]
struct Record {
    value: Value,
    meter: Arc<Meter>,
}

static MESSAGE: CelType = CelType::new_unspecified_type("message");
static DOCUMENT: CelType = CelType::new_unspecified_type("document");
static CHUNK: CelType = CelType::new_unspecified_type("chunk");
static ANSWER: CelType = CelType::new_unspecified_type("answer");

impl Val for Record {
    fn get_type(&self) -> &CelType {
        match &self.value {
            Value::Message(_) => &MESSAGE,
            Value::Document(_) => &DOCUMENT,
            Value::Chunk(_) => &CHUNK,
            _ => &ANSWER,
        }
    }

    fn cel_type() -> &'static CelType {
        &CHUNK
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Record>().is_some_and(|other| self.value == other.value)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Record {}

impl Indexer for Record {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = name.downcast_ref::<CelString<'_>>().map(CelString::inner).unwrap_or_default();
        let field = self
            .value
            .field(name)
            .ok_or_else(|| absent(name, &format!("the {} has none", self.value.ty())))?;
        // What a field holds is passed on, not made.
        self.meter.pass(weight_of(&field))?;
        Ok(CowVal::Owned(static_val(&field, &self.meter)))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

/// `value` within `cel`; texts are borrowed.
pub(super) fn bind<'v>(value: &'v Value, meter: &Arc<Meter>) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    // What is bound may come out again as it is: that is not made.
    meter.pass(1)?;
    meter.work(32)?;
    Ok(match value {
        Value::Text(text) => Box::new(CelString::from(&**text)),
        Value::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| bind(item, meter)).collect();
            Box::new(CelList::from(items?))
        }
        Value::Map(map) => {
            let entries: Result<HashMap<_, _>, _> = map
                .iter()
                .map(|(key, value)| Ok((CelMapKey::from(&**key), bind(value, meter)?)))
                .collect::<Result<_, ExecutionError>>();
            Box::new(CelMap::from(entries?))
        }
        other => static_val(other, meter),
    })
}

/// `value` within `cel`, nothing borrowed.
fn static_val<'v>(value: &Value, meter: &Arc<Meter>) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Int(value) => Box::new(CelInt::from(*value)),
        Value::Float(value) => Box::new(CelDouble::from(*value)),
        Value::Text(text) => Box::new(CelString::from(text.to_string())),
        Value::List(items) => {
            let items: Vec<Box<dyn Val + 'v>> = items.iter().map(|item| static_val(item, meter)).collect();
            Box::new(CelList::from(items))
        }
        Value::Map(map) => {
            let entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = map
                .iter()
                .map(|(key, value)| (CelMapKey::from(key.to_string()), static_val(value, meter)))
                .collect();
            Box::new(CelMap::from(entries))
        }
        Value::Message(_) | Value::Document(_) | Value::Chunk(_) | Value::Answer(_) => {
            Box::new(Record { value: value.clone(), meter: Arc::clone(meter) })
        }
    }
}

/// What `cel` gave; `made` counts the bytes that the expression wrote itself.
pub(super) fn unbind(val: &dyn Val, made: &mut usize) -> Result<Value, Stop> {
    *made += 1;
    if let Some(record) = val.downcast_ref::<Record>() {
        return Ok(record.value.clone());
    }
    if let Some(text) = val.downcast_ref::<CelString<'_>>() {
        *made += if text.as_borrowed().is_none() { text.inner().len() + 2 } else { 0 };
        return Ok(Value::text(text.inner()));
    }
    if let Some(list) = val.downcast_ref::<CelList<'_>>() {
        let items: Result<Vec<_>, _> = list.inner().iter().map(|item| unbind(item.as_ref(), made)).collect();
        return Ok(Value::list(items?));
    }
    if let Some(map) = val.downcast_ref::<CelMap<'_>>() {
        let entries: Result<Vec<(Text, Value)>, Stop> = map
            .inner()
            .iter()
            .map(|(key, value)| {
                let CelMapKey::String(key) = key else {
                    return Err(Stop::Error("the key of a map must be a text".to_owned()));
                };
                *made += key.inner().len() + 4;
                Ok((key.inner().into(), unbind(value.as_ref(), made)?))
            })
            .collect();
        let mut map: Map = entries?.into_iter().collect();
        // A map of `cel` has no order, and the same inputs must give the same outputs.
        map.sort_unstable_keys();
        return Ok(Value::Map(Arc::new(map)));
    }
    Ok(match cel::Value::try_from(val) {
        Ok(cel::Value::Null) => Value::Null,
        Ok(cel::Value::Bool(value)) => Value::Bool(value),
        Ok(cel::Value::Int(value)) => Value::Int(value),
        Ok(cel::Value::Float(value)) if value.is_finite() => Value::Float(value),
        Ok(cel::Value::Float(_)) => return Err(Stop::Error("the result is no finite number".to_owned())),
        Ok(cel::Value::Timestamp(moment)) => Value::text(moment.to_rfc3339()),
        Ok(cel::Value::Duration(span)) => Value::text(format!("{}s", span.as_seconds_f64())),
        _ => return Err(Stop::Error(format!("a `{}` cannot be a result", val.get_type().name()))),
    })
}

/// The keys of a map in order; anything else as it is.
pub(super) fn ordered<'b, 'v>(val: CowVal<'b, 'v>) -> CowVal<'b, 'v> {
    let Some(map) = val.downcast_ref::<CelMap<'v>>() else { return val };
    let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
    keys.sort_unstable_by(|a, b| match (a, b) {
        (CelMapKey::String(a), CelMapKey::String(b)) => a.inner().cmp(b.inner()),
        _ => std::cmp::Ordering::Equal,
    });
    let keys: Vec<Box<dyn Val + 'v>> = keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect();
    CowVal::owned(CelList::from(keys))
}

/// About how many bytes there are in `val`; those of its records only if they count, since they are never copied.
pub(super) fn weight(val: &dyn Val, records: bool) -> usize {
    if let Some(text) = val.downcast_ref::<CelString<'_>>() {
        1 + text.inner().len()
    } else if let Some(list) = val.downcast_ref::<CelList<'_>>() {
        list.inner().iter().map(|item| weight(item.as_ref(), records)).fold(16, usize::saturating_add)
    } else if let Some(map) = val.downcast_ref::<CelMap<'_>>() {
        map.inner().values().map(|item| 16 + weight(item.as_ref(), records)).fold(16, usize::saturating_add)
    } else {
        val.downcast_ref::<Record>().filter(|_| records).map_or(8, |record| weight_of(&record.value))
    }
}

fn weight_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => 1 + text.len(),
        Value::List(items) => items.iter().map(weight_of).fold(16, usize::saturating_add),
        Value::Map(map) => map.values().map(|item| 16 + weight_of(item)).fold(16, usize::saturating_add),
        Value::Message(record) => record.content.len(),
        Value::Document(record) => record.text.len(),
        Value::Chunk(record) => record.text.len(),
        Value::Answer(record) => record.text.len() + 64 * record.citations.len(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 8,
    }
}

/// `value.name`, without `cel`.
pub(super) fn field(value: &Value, name: &str) -> Result<Value, Stop> {
    if let Some(found) = value.field(name) {
        return Ok(found);
    }
    let ty = value.ty();
    Err(match value {
        Value::Map(_) => Stop::Missing(format!("the map has no `{name}`")),
        _ if ty.record().is_some() => {
            let why = format!("the {ty} has none").into();
            Stop::Absent(Arc::new(Absence { what: name.into(), why }))
        }
        _ => Stop::Error(format!("a value of type `{ty}` has no field `{name}`")),
    })
}

/// `value[at]`, without `cel`.
pub(super) fn item(value: &Value, at: usize) -> Result<Value, Stop> {
    let Some(items) = value.as_list() else {
        return Err(Stop::Error(format!("a value of type `{}` has no items", value.ty())));
    };
    items
        .get(at)
        .cloned()
        .ok_or_else(|| Stop::Missing(format!("there is no item {at} in a list of {}", items.len())))
}
