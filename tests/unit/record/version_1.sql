BEGIN TRANSACTION;
CREATE TABLE entry (
	"transaction" VARCHAR NOT NULL,
	seq INTEGER NOT NULL,
	part INTEGER NOT NULL,
	host VARCHAR,
	way VARCHAR,
	chunk INTEGER NOT NULL,
	branch VARCHAR,
	command VARCHAR,
	undo VARCHAR,
	terms VARCHAR,
	secrets VARCHAR,
	call VARCHAR,
	"key" VARCHAR,
	undo_once BOOLEAN NOT NULL,
	PRIMARY KEY ("transaction", seq),
	FOREIGN KEY("transaction") REFERENCES tx (id) ON DELETE CASCADE
);
INSERT INTO "entry" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',1,0,'web1',NULL,1,NULL,'run','unrun',NULL,NULL,NULL,NULL,0);
CREATE TABLE intent (
	"transaction" VARCHAR NOT NULL,
	seq INTEGER NOT NULL,
	undo BOOLEAN NOT NULL,
	attempt INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	at VARCHAR NOT NULL,
	PRIMARY KEY ("transaction", seq, undo, attempt),
	FOREIGN KEY("transaction", seq) REFERENCES entry ("transaction", seq) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO "intent" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',1,0,1,1,'2026-01-02T03:04:05.000678+00:00');
CREATE TABLE legal_move (
	"before" VARCHAR NOT NULL,
	"after" VARCHAR NOT NULL,
	raises INTEGER NOT NULL,
	PRIMARY KEY ("before", "after"),
	UNIQUE ("before", "after", raises)
);
INSERT INTO "legal_move" VALUES('rollback_partial','rolling_back',1);
INSERT INTO "legal_move" VALUES('succeeded','rolling_back',1);
INSERT INTO "legal_move" VALUES('running','rolling_back',1);
INSERT INTO "legal_move" VALUES('running','rollback_partial',0);
INSERT INTO "legal_move" VALUES('running','cancelled',0);
INSERT INTO "legal_move" VALUES('running','succeeded',0);
INSERT INTO "legal_move" VALUES('','running',1);
INSERT INTO "legal_move" VALUES('rolling_back','rolled_back',0);
INSERT INTO "legal_move" VALUES('rolling_back','rolling_back',1);
INSERT INTO "legal_move" VALUES('rolling_back','rollback_partial',0);
INSERT INTO "legal_move" VALUES('rollback_partial','closed',1);
INSERT INTO "legal_move" VALUES('running','failed',0);
INSERT INTO "legal_move" VALUES('running','closed',1);
INSERT INTO "legal_move" VALUES('cancelled','rolling_back',1);
INSERT INTO "legal_move" VALUES('failed','rolling_back',1);
CREATE TABLE meta (
	journal VARCHAR NOT NULL,
	version INTEGER NOT NULL,
	PRIMARY KEY (journal)
);
INSERT INTO "meta" VALUES('334075b941e340229bd8cdca98617618',1);
CREATE TABLE move (
	"transaction" VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	"before" VARCHAR NOT NULL,
	"after" VARCHAR NOT NULL,
	raises INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	owner VARCHAR NOT NULL,
	at VARCHAR NOT NULL,
	why VARCHAR,
	earlier INTEGER,
	earlier_epoch INTEGER NOT NULL,
	PRIMARY KEY ("transaction", number),
	FOREIGN KEY("transaction") REFERENCES tx (id) ON DELETE CASCADE,
	FOREIGN KEY("before", "after", raises) REFERENCES legal_move ("before", "after", raises),
	UNIQUE ("transaction", number, "after", epoch),
	FOREIGN KEY("transaction", earlier, "before", earlier_epoch) REFERENCES move ("transaction", number, "after", epoch) ON DELETE CASCADE,
	CHECK (epoch = earlier_epoch + raises),
	CHECK (CASE WHEN before = '' THEN number = 1 AND earlier IS NULL AND earlier_epoch = 0 ELSE earlier IS NOT NULL AND earlier = number - 1 END),
	FOREIGN KEY(owner) REFERENCES owner (id)
);
INSERT INTO "move" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',1,'','running',1,1,'374ea55deb1b4488ad16756725c9857b','2026-01-02T03:04:05.000678+00:00',NULL,NULL,0);
INSERT INTO "move" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',2,'running','succeeded',0,1,'374ea55deb1b4488ad16756725c9857b','2026-01-02T03:04:05.000678+00:00',NULL,1,1);
CREATE TABLE note (
	id INTEGER NOT NULL,
	"transaction" VARCHAR NOT NULL,
	seq INTEGER,
	undo BOOLEAN NOT NULL,
	who VARCHAR NOT NULL,
	at VARCHAR NOT NULL,
	text VARCHAR NOT NULL,
	old_status VARCHAR,
	new_status VARCHAR,
	PRIMARY KEY (id),
	FOREIGN KEY("transaction") REFERENCES tx (id) ON DELETE CASCADE,
	FOREIGN KEY("transaction", seq) REFERENCES entry ("transaction", seq) ON DELETE CASCADE
);
INSERT INTO "note" VALUES(1,'01KFAAAAAAAAAAAAAAAAAAAAAA',1,0,'ann','2026-01-02T03:04:05.000678+00:00','seen',NULL,NULL);
CREATE TABLE outcome (
	"transaction" VARCHAR NOT NULL,
	seq INTEGER NOT NULL,
	undo BOOLEAN NOT NULL,
	attempt INTEGER NOT NULL,
	status VARCHAR NOT NULL,
	exit_code INTEGER,
	signal VARCHAR,
	stdout VARCHAR NOT NULL,
	stderr VARCHAR NOT NULL,
	truncated BOOLEAN NOT NULL,
	started_at VARCHAR,
	seconds FLOAT,
	error VARCHAR,
	PRIMARY KEY ("transaction", seq, undo, attempt),
	FOREIGN KEY("transaction", seq, undo, attempt) REFERENCES intent ("transaction", seq, undo, attempt) ON DELETE CASCADE
);
INSERT INTO "outcome" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',1,0,1,'ok',0,NULL,'','',0,'2026-01-02T03:04:05.000678+00:00',0.1,NULL);
CREATE TABLE owner (
	id VARCHAR NOT NULL,
	who VARCHAR NOT NULL,
	machine VARCHAR NOT NULL,
	pid INTEGER NOT NULL,
	since VARCHAR NOT NULL,
	ended_at VARCHAR,
	PRIMARY KEY (id)
);
INSERT INTO "owner" VALUES('374ea55deb1b4488ad16756725c9857b','ann','laptop',7,'2026-01-02T03:04:05.000678+00:00','2026-01-02T03:04:06.000678+00:00');
CREATE TABLE part (
	"transaction" VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	parent INTEGER NOT NULL,
	name VARCHAR,
	kind VARCHAR NOT NULL,
	chunk INTEGER,
	at VARCHAR NOT NULL,
	PRIMARY KEY ("transaction", number),
	FOREIGN KEY("transaction") REFERENCES tx (id) ON DELETE CASCADE
);
INSERT INTO "part" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA',1,0,NULL,'run',NULL,'2026-01-02T03:04:05.000678+00:00');
CREATE TABLE task (
	"transaction" VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	status VARCHAR NOT NULL,
	error VARCHAR,
	stdout VARCHAR NOT NULL,
	stderr VARCHAR NOT NULL,
	truncated BOOLEAN NOT NULL,
	started_at VARCHAR,
	seconds FLOAT,
	PRIMARY KEY ("transaction", number),
	FOREIGN KEY("transaction", number) REFERENCES part ("transaction", number) ON DELETE CASCADE
);
CREATE TABLE tx (
	id VARCHAR NOT NULL,
	name VARCHAR,
	kind VARCHAR NOT NULL,
	notebook VARCHAR,
	at VARCHAR NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "tx" VALUES('01KFAAAAAAAAAAAAAAAAAAAAAA','deploy','transaction',NULL,'2026-01-02T03:04:05.000678+00:00');
CREATE TABLE unsent (
	id INTEGER NOT NULL,
	"transaction" VARCHAR NOT NULL,
	seq INTEGER NOT NULL,
	undo BOOLEAN NOT NULL,
	attempt INTEGER NOT NULL,
	status VARCHAR NOT NULL,
	error VARCHAR,
	at VARCHAR NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY("transaction", seq) REFERENCES entry ("transaction", seq) ON DELETE CASCADE
);
CREATE INDEX ix_tx_at ON tx (at);
CREATE INDEX entry_key ON entry ("key", host) WHERE "key" IS NOT NULL;
CREATE INDEX unsent_entry ON unsent ("transaction", seq);
CREATE INDEX note_entry ON note ("transaction", seq);
COMMIT;
