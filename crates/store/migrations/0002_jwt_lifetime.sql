-- The longest lifetime of a JWT that a key signs, in seconds; NULL for keys made before there was such a setting, and for
-- those that sign no JWTs.
ALTER TABLE keys ADD COLUMN max_jwt_lifetime INTEGER CHECK (max_jwt_lifetime >= 1);
