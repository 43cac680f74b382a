-- Why a run that rests stopped by itself: a word for the cause; empty when a person paused it, and for
-- every run that does not rest. Those that stopped before this column was there are found again once
-- they stop again.

ALTER TABLE runs ADD COLUMN stopped TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_stopped ON runs (organisation, workspace, run)
    WHERE state = 'paused' AND stopped <> '';
