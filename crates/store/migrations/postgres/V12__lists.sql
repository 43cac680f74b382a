-- Lists of a tenant's runs in a state.

CREATE INDEX runs_by_scope_and_state ON runs (organisation, workspace, state, run);
