-- Who there is, as Bulwark is told: the customers and their branches under the ids
-- that they have, and people.

SELECT count(bulwark.tenant_create(slug, initcap(slug) || ' Trust', id => tenant_id)) FROM customers;
SELECT count(bulwark.affiliation_create(tenant_id, slug, upper(slug), id => affiliation_id)) FROM branches WHERE parent_id IS NULL;
SELECT count(bulwark.affiliation_create(tenant_id, slug, upper(slug), id => affiliation_id, parent_id => parent_id))
FROM branches WHERE parent_id IS NOT NULL;

-- Each tenant has its administrator; alder has more people, and fay works for two.
SELECT count(bulwark.membership_grant(bulwark.principal_create('admin@' || slug || '.example'), tenant_id, 'tenant_admin'))
FROM customers;
SELECT count(bulwark.principal_create(name || '@demo.example', initcap(name)))
FROM unnest('{ana,bruno,carla,dan,eve,fay}'::text[]) AS name;
SELECT count(bulwark.membership_grant(p.principal_id, t.tenant_id, m.role, a.affiliation_id))
FROM (VALUES
		('ana', 'alder', 'tenant_admin', NULL),
		('bruno', 'alder', 'admin', 'emea'),
		('carla', 'alder', 'read_only', 'nordics'),
		('eve', 'birch', 'tenant_admin', NULL),
		('fay', 'alder', 'admin', 'latam'),
		('fay', 'birch', 'admin', 'latam')
	) AS m (name, tenant, role, affiliation)
	JOIN bulwark.principals p ON p.email = m.name || '@demo.example'
	JOIN bulwark.tenants t ON t.slug = m.tenant
	LEFT JOIN bulwark.affiliations a ON a.tenant_id = t.tenant_id AND a.slug = m.affiliation;
-- dan is known to the identity provider, and a member of nothing

SELECT count(bulwark.principal_link(principal_id, 'https://id.demo.example', 'user-' || split_part(email, '@', 1)))
FROM bulwark.principals WHERE email LIKE '%@demo.example';
