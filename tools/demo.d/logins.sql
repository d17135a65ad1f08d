-- demo_dba owns the tables; the application's login owns nothing.

CREATE ROLE demo_dba LOGIN;
CREATE ROLE demo_app LOGIN;
CREATE ROLE demo_bff LOGIN;
CREATE DATABASE demo OWNER demo_dba;
\connect demo
ALTER SCHEMA public OWNER TO demo_dba;
