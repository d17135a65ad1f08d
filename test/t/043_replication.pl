# Logical replication of protected tables, and a physical copy of the cluster:
# what is isolated there, and where a ticket of the source works.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = private_file('shared.key', unpack 'H*', random_bytes(32));
my $publisher = bulwark_node('publisher', key => $key, init => [ allows_streaming => 'logical' ]);
my $tables = <<'SQL';
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL, note text);
CREATE TABLE deliveries (id int PRIMARY KEY, order_id int REFERENCES orders);
CREATE TABLE invoices (id int PRIMARY KEY, tenant_id uuid NOT NULL, order_id int REFERENCES orders);
SQL
my $protect = <<'SQL';
SELECT bulwark.protect('orders', 'tenant_id');
SELECT bulwark.protect('deliveries', parent => 'orders', materialize => true);
SELECT bulwark.protect('invoices', 'tenant_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON orders, deliveries, invoices TO app;
SQL
app_role($publisher, 'app', 'a', 'b');
$publisher->safe_psql('postgres', "$tables $protect");
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO orders SELECT 10 * n, tenant_id, slug FROM bulwark.tenants, generate_series(1, 5) AS n WHERE slug = 'a';
INSERT INTO orders SELECT 10 * n + 1, tenant_id, slug FROM bulwark.tenants, generate_series(1, 3) AS n WHERE slug = 'b';
INSERT INTO deliveries SELECT id, id FROM orders;
INSERT INTO invoices SELECT id, tenant_id, id FROM orders;
CREATE PUBLICATION shop FOR TABLE orders, deliveries, invoices;
SQL

my $rows = q{SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM deliveries), (SELECT count(*) FROM invoices)};

sub tenant_rows
{
	my ($on, $tenant, $more) = @_;
	return $on->safe_psql('postgres', sprintf(q{BEGIN; SELECT '' FROM bulwark.authenticate('%s') \g /dev/null
%s %s; COMMIT}, token($tenant), $more // '', $rows), extra_params => [ '-U', 'app' ]);
}

# --- a subscriber without bulwark ------------------------------------------------------
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', $tables);
$plain->safe_psql('postgres', 'ALTER TABLE deliveries ADD bulwark_tenant uuid');
my $connstr = $publisher->connstr . ' dbname=postgres';
$plain->safe_psql('postgres', "CREATE SUBSCRIPTION plain CONNECTION '$connstr' PUBLICATION shop");
$plain->wait_for_subscription_sync;
is($plain->safe_psql('postgres', $rows), '8|8|8', 'a subscriber without bulwark has the rows of all tenants');

# --- a subscriber that protects them ------------------------------------------------------
my $subscriber = bulwark_node('subscriber', key => $key, init => [ allows_streaming => 'logical' ]);
$subscriber->safe_psql('postgres', 'CREATE ROLE app LOGIN IN ROLE bulwark_app');
for my $tenant ('a', 'b')
{
	my $ids = $publisher->safe_psql('postgres', qq{SELECT format('%L, %L', tenant_id, principal_id)
		FROM bulwark.members WHERE email = '$tenant\@example.org'});
	my ($tenant_id, $principal_id) = split /, /, $ids;
	$subscriber->safe_psql('postgres', qq{
SELECT bulwark.membership_grant(bulwark.principal_create('$tenant\@example.org', id => $principal_id),
	bulwark.tenant_create('$tenant', 'Tenant $tenant', id => $tenant_id), 'tenant_admin');
SELECT bulwark.principal_link($principal_id, issuer, '$tenant') FROM bulwark.issuers});
}
$subscriber->safe_psql('postgres', "$tables $protect");
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION shop CONNECTION '$connstr' PUBLICATION shop");
$subscriber->wait_for_subscription_sync;
is($subscriber->safe_psql('postgres', $rows, extra_params => [ '-U', 'app' ]), '0|0|0', 'a subscriber that protects them shows nobody anything');
is(tenant_rows($subscriber, 'a'), '5|5|5', 'and tenant a its rows');
is(tenant_rows($subscriber, 'b'), '3|3|3', 'and tenant b its own');

# What an identity writes on the publisher arrives under its tenant.
is(tenant_rows($publisher, 'a', q{INSERT INTO orders (id, note) VALUES (60, 'new'); INSERT INTO deliveries VALUES (60, 60);
UPDATE orders SET note = 'changed' WHERE id = 10; DELETE FROM invoices WHERE id = 20;}), '6|6|4', 'tenant a writes on the publisher');
# A row moved by whom may.
$publisher->safe_psql('postgres', 'CREATE ROLE mover IN ROLE bulwark_maintenance BYPASSRLS; GRANT SELECT, UPDATE ON orders, deliveries TO mover');
$publisher->safe_psql('postgres', q{
SET ROLE mover;
UPDATE orders SET tenant_id = (SELECT tenant_id FROM bulwark.tenants WHERE slug = 'b') WHERE id = 30});
$publisher->wait_for_catchup('shop');
$publisher->wait_for_catchup('plain');
is(tenant_rows($subscriber, 'a'), tenant_rows($publisher, 'a'), 'the subscriber shows tenant a what the publisher does');
is(tenant_rows($subscriber, 'b'), tenant_rows($publisher, 'b'), 'and tenant b');
is(tenant_rows($subscriber, 'b'), '4|4|3', 'a row that moved is where it moved to, its children too');
is($subscriber->safe_psql('postgres', 'SELECT note FROM orders WHERE id = 10'), 'changed', 'an update has arrived');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM orders JOIN deliveries ON order_id = orders.id WHERE bulwark_tenant IS DISTINCT FROM tenant_id'), 0,
	"every child's tenant is its parent's");

# What is withdrawn on the publisher is the publisher's affair.
my $ticket = $publisher->safe_psql('postgres', sprintf(
	"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token('a')), extra_params => [ '-U', 'app' ]);

sub use_ticket
{
	my ($on) = @_;
	my ($rc, $out, $err) = $on->psql('postgres',
		"\\set VERBOSITY verbose\nBEGIN; SET LOCAL bulwark.ticket = '$ticket'; SELECT bulwark.tenant_key();", extra_params => [ '-U', 'app' ]);
	return $err =~ /ERROR:\s+(\w+)/ ? $1 : $out;
}
is(use_ticket($publisher), 'a', 'I35: a ticket works on the publisher');
is(use_ticket($subscriber), '28000', 'I35: and not on the subscriber');

# --- I35: a physical copy: nothing in it differs but where it runs ---------------------------
$publisher->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($publisher, 'copy');
$copy->start;
is(use_ticket($copy), 'a', "I35: a physical copy with the same root key takes the source's tickets");
$copy->append_conf('postgresql.conf', "bulwark.realm = 'staging'");
$copy->reload;
$copy->poll_query_until('postgres', "SELECT current_setting('bulwark.realm') = 'staging'");
is(use_ticket($copy), '28000', 'I35: in a realm of its own it does not');
is(use_ticket($publisher), 'a', 'I35: while the source goes on');

$_->stop for $copy, $subscriber, $plain, $publisher;
done_testing();
