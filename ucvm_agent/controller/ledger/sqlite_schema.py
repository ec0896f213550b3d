"""The tables of a controller that has its ledger in SQLite."""

from __future__ import annotations

from ucvm_agent.store.schema import Schema

LEDGER = Schema(
    0x7563766C,  # `ucvl` in ASCII
    (
        """
        CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            position INTEGER,
            machine_id TEXT,
            expires REAL,
            ended REAL,
            description TEXT NOT NULL,
            status TEXT NOT NULL,
            submitted TEXT NOT NULL,
            changed TEXT NOT NULL,
            tries TEXT NOT NULL,
            max_tries TEXT NOT NULL,
            lease TEXT NOT NULL,
            result TEXT NOT NULL,
            reason TEXT NOT NULL,
            token TEXT NOT NULL,
            takers TEXT NOT NULL
        ) STRICT;
        CREATE INDEX queue ON jobs (position) WHERE position IS NOT NULL;
        CREATE INDEX leases ON jobs (expires) WHERE expires IS NOT NULL;
        CREATE INDEX ends ON jobs (ended, status) WHERE ended IS NOT NULL;
        CREATE INDEX pages ON jobs (status, number);
        CREATE INDEX holders ON jobs (machine_id) WHERE machine_id IS NOT NULL;
        CREATE TABLE counts (status TEXT PRIMARY KEY, jobs INTEGER NOT NULL) STRICT;
        CREATE TRIGGER count_new AFTER INSERT ON jobs BEGIN
            INSERT INTO counts VALUES (new.status, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
        END;
        CREATE TRIGGER count_changed AFTER UPDATE OF status ON jobs WHEN new.status <> old.status BEGIN
            UPDATE counts SET jobs = jobs - 1 WHERE status = old.status;
            INSERT INTO counts VALUES (new.status, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
        END;
        CREATE TABLE accounts (account TEXT PRIMARY KEY, asked REAL NOT NULL, question TEXT NOT NULL) STRICT;
        CREATE TABLE machines (
            machine_id TEXT PRIMARY KEY,
            seen REAL NOT NULL,
            state TEXT,
            online INTEGER NOT NULL,
            document TEXT NOT NULL
        ) STRICT;
        CREATE INDEX heard ON machines (seen);
        CREATE INDEX states ON machines (state, online);
        CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            machine_id TEXT NOT NULL,
            document TEXT NOT NULL
        ) STRICT;
        CREATE INDEX stories ON events (machine_id, number);
        """,
        """
        ALTER TABLE jobs ADD COLUMN ours INTEGER NOT NULL DEFAULT 0;
        UPDATE jobs SET ours = EXISTS (
            SELECT 1 FROM json_each(description, '$.inputs') WHERE json_extract(value, '$.url') <> ''
        );
        CREATE TRIGGER count_gone AFTER DELETE ON jobs BEGIN
            UPDATE counts SET jobs = jobs - 1 WHERE status = old.status;
        END;
        CREATE INDEX queue_of_originals ON jobs (position) WHERE position IS NOT NULL AND NOT ours;
        """,
    ),
)
