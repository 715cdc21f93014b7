//! Reading that ends in time.

use super::failed;
use crate::StoreError;
use rusqlite::Connection;
use std::time::Instant;

/// Between two looks at the clock, in steps of SQLite's virtual machine: some tens of microseconds.
const STEPS: i32 = 10_000;

/// Reads with a connection, which is interrupted at `until`.
pub(crate) fn within<T>(
    connection: &mut Connection,
    until: Instant,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    const DOING: &str = "limiting how long reading may take";
    connection.progress_handler(STEPS, Some(move || Instant::now() >= until)).map_err(failed(DOING))?;
    let result = read(connection);
    connection.progress_handler(0, None::<fn() -> bool>).map_err(failed(DOING))?;
    result.map_err(|error| if is_interruption(&error) { StoreError::OutOfTime } else { error })
}

fn is_interruption(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    let code = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    code == Some(rusqlite::ErrorCode::OperationInterrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    #[test]
    fn what_takes_too_long_is_interrupted_and_the_connection_goes_on() {
        let mut connection = Connection::open_in_memory().unwrap();
        let count = |connection: &Connection, sql: &str| {
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed("counting"))
        };
        let begun = Instant::now();
        let soon = begun + Duration::from_millis(50);
        let ended = within(&mut connection, soon, |connection| count(connection, ENDLESS));
        assert!(matches!(ended, Err(StoreError::OutOfTime)), "{ended:?}");
        assert!(begun.elapsed() >= Duration::from_millis(50));
        // Afterwards nothing is interrupted any more, and other errors stay what they are.
        let finite = format!("{ENDLESS} LIMIT 1").replace("FROM n) SELECT", "FROM n LIMIT 1000000) SELECT");
        assert_eq!(count(&connection, &finite).unwrap(), 1_000_000);
        let other =
            within(&mut connection, begun + Duration::from_secs(60), |connection| count(connection, "nonsense"));
        assert!(matches!(other, Err(StoreError::Database { .. })), "{other:?}");
    }
}
