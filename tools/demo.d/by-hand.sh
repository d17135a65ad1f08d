# How to go on by hand.  Sourced by tools/demo when the tour is over.

title "Go on by hand"
cat <<TEXT
The server is still running.  Connect as the application does:

    ${bold}PSQLRC=$dir/psqlrc $bin/psql -h $dir -U demo_app demo${plain}      (or: tools/demo psql)

    :as_ana                                  begins a transaction as ana
    SELECT count(*) FROM personas;           whatever you like
    ROLLBACK;                                and ana is gone

People: :as_ana (tenant_admin of alder), :as_bruno (admin of emea), :as_carla (read_only in nordics),
:as_fay (alder) and :as_fay2 (birch), :as_eve (tenant_admin of birch), :as_dan (a member of nothing).
Their tokens are in psql's variables (:'ana', ...) and last 12 hours; tools/demo psql makes new ones.

Logins: demo_app (the application), demo_bff (may assume an identity), demo_dba (owns the tables and
manages tenants, memberships, protection), postgres (superuser: sees everything, as superusers do).

    tools/demo stop | start | drop           stop it, start it, remove it and all that it made
TEXT
