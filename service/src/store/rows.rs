//! Many rows in one statement, the same text for both databases: what is to be written is a table `r` in front of it.

use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::database::Database;

/// Rows that one statement of `SQLite` takes; few sizes, so that their statements are prepared once.
const SIZES: [usize; 3] = [64, 8, 1];

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

    fn sqlite(&self, n: usize, statement: &str) -> AssertSqlSafe<String> {
        let one = format!("({})", vec!["?"; self.names.len()].join(", "));
        AssertSqlSafe(format!(
            "WITH r({}) AS (VALUES {}) {statement}",
            self.names.join(", "),
            vec![one.as_str(); n].join(", ")
        ))
    }
}

/// What a statement over rows gives: a text, a number and a text a row.
pub(super) type Given = (String, i64, String);

/// A connection that runs statements over rows.
pub(super) trait Connection: Send {
    /// Runs `statement`, which reads its rows from `r`.
    fn run(
        &mut self,
        statement: &str,
        rows: &Rows,
    ) -> impl Future<Output = Result<Vec<Given>, sqlx::Error>> + Send;
}

impl Connection for SqliteConnection {
    async fn run(&mut self, statement: &str, rows: &Rows) -> Result<Vec<Given>, sqlx::Error> {
        let mut given = Vec::new();
        let mut first = 0;
        while first < rows.n {
            let left = rows.n - first;
            let n = SIZES.into_iter().find(|size| *size <= left).unwrap_or(1);
            let mut query = sqlx::query_as::<_, Given>(rows.sqlite(n, statement));
            for index in first..first + n {
                for column in &rows.columns {
                    query = match column {
                        Column::Text(column) => query.bind(column.get(index).cloned().flatten()),
                        Column::Int(column) => query.bind(column.get(index).copied().flatten()),
                        Column::Bytes(column) => query.bind(column.get(index).cloned()),
                    };
                }
            }
            given.extend(query.fetch_all(&mut *self).await?);
            first += n;
        }
        Ok(given)
    }
}

impl Connection for PgConnection {
    async fn run(&mut self, statement: &str, rows: &Rows) -> Result<Vec<Given>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = sqlx::query_as::<_, Given>(rows.postgres(statement));
        for column in &rows.columns {
            query = match column {
                Column::Text(column) => query.bind(column),
                Column::Int(column) => query.bind(column),
                Column::Bytes(column) => query.bind(column),
            };
        }
        query.fetch_all(&mut *self).await
    }
}

impl Database {
    /// [`Self::sql`] for a statement that goes through [`Connection::run`].
    pub(super) fn statement(&self, text: &str) -> String {
        self.sql(text).0
    }
}
