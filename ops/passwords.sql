-- Gives the roles of roles.sql the passwords that are in files (compose.yaml).
\set password `cat /run/secrets/admin_password`
ALTER ROLE projector_admin PASSWORD :'password';
\set password `cat /run/secrets/ingest_password`
ALTER ROLE projector_ingest PASSWORD :'password';
\set password `cat /run/secrets/project_password`
ALTER ROLE projector_project PASSWORD :'password';
\set password `cat /run/secrets/read_password`
ALTER ROLE projector_read PASSWORD :'password';
