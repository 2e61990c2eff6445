//! Many rows in one statement, the same text for both databases: what is to be written is a table `r` in front of it.

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, PgConnection, SqliteConnection};

use super::database::Database;

/// Most rows that one statement of `SQLite` takes. Fewer are filled up to a power of two with rows of nothing, so that
/// few statements are prepared, once each, and what there is to do goes to the connection's thread in one go.
pub(super) const MOST: usize = 512;
/// Statements of `SQLite` that stay prepared: some fifteen, each in ten sizes.
pub(super) const PREPARED: usize = 256;

/// A column of [`Rows`].
#[derive(Debug)]
pub(super) enum Column {
    Text(Vec<Option<String>>),
    Int(Vec<Option<i64>>),
    Bytes(Vec<Vec<u8>>),
}

impl Column {
    fn postgres_type(&self) -> &'static str {
        match self {
            Self::Text(_) => "text[]",
            Self::Int(_) => "int8[]",
            Self::Bytes(_) => "bytea[]",
        }
    }
}

/// Something that goes into a column.
#[derive(Debug)]
pub(super) enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    Bytes(Vec<u8>),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<&Option<String>> for Cell {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<Vec<u8>> for Cell {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Rows for one statement.
#[derive(Debug)]
pub(super) struct Rows {
    names: &'static [&'static str],
    columns: Vec<Column>,
    n: usize,
}

impl Rows {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        Self { names, columns: Vec::new(), n: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Adds a row; every row has cells of the same kinds.
    pub(super) fn push<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.names.len(), "{:?}", self.names);
        self.n += 1;
        for (index, cell) in cells.into_iter().enumerate() {
            if self.columns.len() <= index {
                self.columns.push(match &cell {
                    Cell::Text(_) => Column::Text(Vec::new()),
                    Cell::Int(_) => Column::Int(Vec::new()),
                    Cell::Bytes(_) => Column::Bytes(Vec::new()),
                });
            }
            match (self.columns.get_mut(index), cell) {
                (Some(Column::Text(column)), Cell::Text(text)) => column.push(text),
                (Some(Column::Int(column)), Cell::Int(number)) => column.push(number),
                (Some(Column::Bytes(column)), Cell::Bytes(bytes)) => column.push(bytes),
                _ => debug_assert!(false, "column {index} of {:?} has another kind", self.names),
            }
        }
    }

    /// `WITH r(…) AS (…)` and the statement.
    fn postgres(&self, statement: &str) -> AssertSqlSafe<String> {
        let arrays: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| format!("${}::{}", index + 1, column.postgres_type()))
            .collect();
        AssertSqlSafe(format!(
            "WITH r({}) AS (SELECT * FROM unnest({})) {statement}",
            self.names.join(", "),
            arrays.join(", ")
        ))
    }

    fn arrays(&self) -> PgArguments {
        let mut arrays = PgArguments::default();
        for column in &self.columns {
            let added = match column {
                Column::Text(column) => arrays.add(column),
                Column::Int(column) => arrays.add(column),
                Column::Bytes(column) => arrays.add(column),
            };
            debug_assert!(added.is_ok());
        }
        arrays
    }

    /// The same for `n` rows, of which those without a first column are not there.
    fn sqlite(&self, n: usize, statement: &str) -> AssertSqlSafe<String> {
        let one = format!("({}), ", vec!["?"; self.names.len()].join(", "));
        let places = one.repeat(n);
        AssertSqlSafe(format!(
            "WITH r({}) AS (SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL) {statement}",
            self.names.join(", "),
            places.trim_end_matches(", "),
        ))
    }

    /// The values of rows from `first` on, and with them the places behind that are left empty.
    fn values(&self, first: usize, n: usize) -> SqliteArguments {
        let mut values = SqliteArguments::default();
        let add = |value: Result<(), sqlx::error::BoxDynError>| debug_assert!(value.is_ok());
        for index in first..first + n {
            for column in &self.columns {
                match column {
                    Column::Text(column) => add(values.add(column.get(index).cloned().flatten())),
                    Column::Int(column) => add(values.add(column.get(index).copied().flatten())),
                    Column::Bytes(column) => add(values.add(column.get(index).cloned())),
                }
            }
        }
        values
    }

    /// The statements of `SQLite` that this takes, each with its values.
    fn parts(&self, statement: &str) -> impl Iterator<Item = (AssertSqlSafe<String>, SqliteArguments)> {
        (0..self.n).step_by(MOST).map(move |first| {
            let n = (self.n - first).min(MOST).next_power_of_two();
            (self.sqlite(n, statement), self.values(first, n))
        })
    }
}

/// What a statement over rows gives: a text, a number and a text a row.
pub(super) type Given = (String, i64, String);

/// A connection that runs statements over rows.
pub(super) trait Connection: Send {
    /// Runs `statement`, which reads its rows from `r`; how many rows it changed.
    fn run(&mut self, statement: &str, rows: &Rows) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs `statement`, which reads its rows from `r`; what it found.
    fn find(
        &mut self,
        statement: &str,
        rows: &Rows,
    ) -> impl Future<Output = Result<Vec<Given>, sqlx::Error>> + Send;
}

impl Connection for SqliteConnection {
    async fn run(&mut self, statement: &str, rows: &Rows) -> Result<u64, sqlx::Error> {
        let mut n_changed = 0;
        for (text, values) in rows.parts(statement) {
            n_changed += sqlx::query_with(text, values).execute(&mut *self).await?.rows_affected();
        }
        Ok(n_changed)
    }

    async fn find(&mut self, statement: &str, rows: &Rows) -> Result<Vec<Given>, sqlx::Error> {
        let mut given = Vec::new();
        for (text, values) in rows.parts(statement) {
            given.extend(sqlx::query_as_with::<_, Given, _>(text, values).fetch_all(&mut *self).await?);
        }
        Ok(given)
    }
}

impl Connection for PgConnection {
    async fn run(&mut self, statement: &str, rows: &Rows) -> Result<u64, sqlx::Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        let query = sqlx::query_with(rows.postgres(statement), rows.arrays());
        Ok(query.execute(&mut *self).await?.rows_affected())
    }

    async fn find(&mut self, statement: &str, rows: &Rows) -> Result<Vec<Given>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as_with::<_, Given, _>(rows.postgres(statement), rows.arrays());
        query.fetch_all(&mut *self).await
    }
}

impl Database {
    /// [`Self::sql`] for a statement that goes through [`Connection::run`].
    pub(super) fn statement(&self, text: &str) -> String {
        self.sql(text).0
    }
}
