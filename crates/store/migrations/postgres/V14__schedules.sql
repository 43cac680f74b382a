-- A schedule is a run; while it has not ended, its title is its name, which nobody else may have.

CREATE UNIQUE INDEX schedules_by_name ON runs (organisation, workspace, title)
    WHERE kind = 'schedule' AND state IN ('ready', 'running', 'waiting', 'paused');
