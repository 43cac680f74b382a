-- Of how many calls nobody knows what they used, so that they count at the most, and how many used
-- tools of their provider's that have no price here, so that they cost more than is counted.

ALTER TABLE model_usage ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model_usage ADD COLUMN incomplete INTEGER NOT NULL DEFAULT 0;
