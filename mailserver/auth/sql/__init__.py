"""Users in a database: PostgreSQL, MariaDB and MySQL, or SQLite."""
