-- One call a table; the data stays where it is.

SELECT bulwark.protect('countries', shared => true);
SELECT bulwark.protect('customers', tenant_column => 'tenant_id');
SELECT bulwark.protect('branches', tenant_column => 'tenant_id');
SELECT bulwark.protect('personas', tenant_column => 'tenant_id', affiliation_column => 'affiliation_id');
SELECT bulwark.protect('threat_actors', tenant_column => 'tenant_id', affiliation_column => 'affiliation_id');
SELECT bulwark.protect('injection_targets', tenant_column => 'tenant_id', affiliation_column => 'affiliation_id');
SELECT bulwark.protect('integrations', tenant_column => 'tenant_id');
SELECT bulwark.protect('phone_numbers', parent => 'personas');
SELECT bulwark.protect('calls', parent => 'personas');
SELECT bulwark.protect('sms', parent => 'personas');
SELECT bulwark.protect('emails', parent => 'personas');
SELECT bulwark.protect('attachments', parent => 'emails');
