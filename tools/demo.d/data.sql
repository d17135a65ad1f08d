-- About 400,000 rows; a tenant's share falls with its rank.

INSERT INTO countries VALUES ('AR', 'Argentina'), ('AT', 'Austria'), ('BR', 'Brazil'), ('CA', 'Canada'), ('CH', 'Switzerland'),
	('DE', 'Germany'), ('DK', 'Denmark'), ('FI', 'Finland'), ('NO', 'Norway'), ('SE', 'Sweden'), ('US', 'United States');

INSERT INTO customers (slug)
	SELECT unnest('{alder,birch,cedar,elder,hazel,holly,juniper,larch,laurel,linden,maple,oak,olive,pear,pine,rowan,spruce,walnut,willow,yew}'::text[]);

-- emea > (dach, nordics); americas > latam
INSERT INTO branches (tenant_id, slug)
	SELECT tenant_id, unnest('{emea,americas}'::text[]) FROM customers;
INSERT INTO branches (tenant_id, parent_id, slug)
	SELECT p.tenant_id, p.affiliation_id, c.slug
	FROM branches p JOIN (VALUES ('emea', 'dach'), ('emea', 'nordics'), ('americas', 'latam')) AS c (parent, slug) ON p.slug = c.parent;

CREATE TEMP VIEW place AS
	SELECT tenant_id, affiliation_id, dense_rank() OVER (ORDER BY c.slug) AS rank, b.slug
	FROM customers c JOIN branches b USING (tenant_id);

INSERT INTO personas (tenant_id, affiliation_id, name, country, status)
	SELECT tenant_id, affiliation_id,
		(array['Alex','Billie','Chris','Dana','Eli','Frankie','Gale','Harper','Izzy','Jules'])[1 + n % 10] || ' ' ||
		(array['Ash','Brook','Croft','Dale','Field','Grove','Heath','Lake','Marsh','Wood'])[1 + n / 10 % 10],
		(SELECT array_agg(code ORDER BY code) FROM countries)[1 + (random() * 10)::int],
		CASE WHEN random() < 0.9 THEN 'active' ELSE 'retired' END
	FROM place, LATERAL generate_series(1, (1100 / rank)::int) AS n
	ORDER BY n, rank, slug;

INSERT INTO phone_numbers
	SELECT '+1555' || lpad(persona_id::text, 7, '0'), persona_id FROM personas;

INSERT INTO calls (persona_id, started_at, seconds, caller)
	SELECT persona_id, timestamptz '2025-01-01Z' + random() * interval '119 days', (random() * 900)::int,
		'+1666' || lpad((random() * 9999999)::int::text, 7, '0')
	FROM personas, generate_series(1, 8);
INSERT INTO sms (persona_id, received_at, body)
	SELECT persona_id, timestamptz '2025-01-01Z' + random() * interval '119 days',
		(array['Your parcel is waiting','Your account is locked','You have won','Call me back'])[1 + n % 4]
	FROM personas, generate_series(1, 5) AS n;
INSERT INTO emails (persona_id, received_at, subject)
	SELECT persona_id, timestamptz '2025-01-01Z' + random() * interval '119 days',
		(array['Invoice overdue','Inheritance','Job offer','Security notice'])[1 + n % 4]
	FROM personas, generate_series(1, 4) AS n;
INSERT INTO attachments (email_id, filename)
	SELECT email_id, 'invoice-' || email_id || '.pdf' FROM emails WHERE email_id % 4 = 0;

INSERT INTO threat_actors (tenant_id, affiliation_id, alias)
	SELECT tenant_id, CASE WHEN n % 20 = 0 THEN NULL ELSE affiliation_id END, 'actor-' || rank || '-' || slug || '-' || n
	FROM place, LATERAL generate_series(1, (200 / rank)::int) AS n;
INSERT INTO injection_targets (tenant_id, affiliation_id, iban)
	SELECT tenant_id, affiliation_id, 'DE' || lpad((random() * 99999999)::int::text, 20, '0')
	FROM place, LATERAL generate_series(1, (200 / rank)::int) AS n;
INSERT INTO integrations (tenant_id, kind, endpoint)
	SELECT t.tenant_id, k, 'https://' || k || '.' || t.slug || '.example/hook'
	FROM customers t, unnest('{siem,ticketing,chat}'::text[]) AS k;

ANALYZE customers, branches, personas, phone_numbers, calls, sms, emails, attachments, threat_actors, injection_targets, integrations;
