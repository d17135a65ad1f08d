-- demo_dba owns the tables and manages tenants; the application's login owns nothing.

CREATE ROLE demo_dba LOGIN;
CREATE ROLE demo_app LOGIN;
CREATE ROLE demo_bff LOGIN;
CREATE DATABASE demo OWNER demo_dba;
\connect demo
CREATE EXTENSION bulwark;
GRANT bulwark_admin TO demo_dba;
GRANT bulwark_app TO demo_app;
GRANT bulwark_impersonator TO demo_bff;
ALTER SCHEMA public OWNER TO demo_dba;
