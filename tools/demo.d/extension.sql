-- Bulwark arrives: demo_dba manages tenants, the application proves identities.

CREATE EXTENSION bulwark;
GRANT bulwark_admin TO demo_dba;
GRANT bulwark_app TO demo_app;
GRANT bulwark_impersonator TO demo_bff;
