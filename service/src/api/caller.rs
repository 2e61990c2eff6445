//! Who calls, and what they may do.

use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::App;
use super::problem::{Code, Problem};
use super::rates;

mod lookup;

pub use lookup::{is_open, known};

pub use crate::access::{DEFAULT_TENANT, Identity, Scope};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose objects they see.
    pub tenant: String,
    /// The key that they showed; none where none is needed.
    pub key_id: Option<String>,
    /// What they may do.
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// Whoever calls where no key is needed.
    pub fn of_this_machine() -> Self {
        Self { tenant: DEFAULT_TENANT.to_owned(), key_id: None, scopes: Scope::ALL.to_vec() }
    }

    /// Whoever has this identity.
    pub fn of(identity: Identity) -> Self {
        let Identity { tenant, key_id, scopes } = identity;
        Self { tenant, key_id, scopes: scopes.into_iter().collect() }
    }

    /// Refuses a caller who lacks a scope.
    pub fn must_have(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let has: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let needed = scope.as_str();
        Err(Problem::new(
            Code::NoScope,
            format!("this needs the scope `{needed}`, and the key has `{}`", has.join("`, `")),
        ))
    }

    /// The caller of a request: by its key, or without one where none is needed.
    pub async fn find(parts: &Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get(AUTHORIZATION);
        let key = match header.map(|value| value.to_str().map(bearer)) {
            Some(Ok(Some(key))) => Some(key),
            Some(_) => return Err(unknown("the header `Authorization` holds no `Bearer KEY`")),
            None => None,
        };
        if let Some(key) = key
            && let Some(caller) = known(app, key).await?
        {
            return Ok(caller);
        }
        // Clients that cannot do without a key send any text; only what looks like one of ours is taken for one.
        let is_ours = key.is_some_and(|key| key.starts_with("anb_"));
        if !is_ours && is_open(app).await? {
            return Ok(Self::of_this_machine());
        }
        Err(unknown(match key {
            Some(_) => "the key is not known, has expired or was revoked",
            None => "the header `Authorization: Bearer KEY` is missing",
        }))
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(Code::NoKey, detail).hint("make a key with `anabranch keys create`")
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let caller = Self::find(parts, app).await?;
        rates::count(app, &caller).await?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// A caller who may do `S`: what an endpoint needs stands in its signature.
#[derive(Debug, Clone)]
pub struct Can<S> {
    /// Who calls.
    pub caller: Caller,
    may: PhantomData<S>,
}

impl<S> Deref for Can<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// A scope as a type.
pub trait Needs: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($name:ident: $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Needs for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

needs! {
    Read: "May look at everything of the tenant.";
    Run: "May submit, cancel, answer and repeat jobs.";
    Edit: "May change flows, webhooks, schedules and indexes.";
    Admin: "May make and revoke keys and set limits.";
}

impl<S: Needs> FromRequestParts<App> for Can<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.must_have(S::SCOPE)?;
        Ok(Self { caller, may: PhantomData })
    }
}
