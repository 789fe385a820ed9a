CREATE OR REPLACE FUNCTION garun.users_like(p_tenant_id UUID, p_query TEXT) RETURNS SETOF TEXT
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
AS $$
    SELECT user_id FROM users
     WHERE tenant_id = p_tenant_id
       AND (strpos(lower(buying_company_name), p_query) > 0 OR strpos(lower(email), p_query) > 0)
$$;

COMMENT ON FUNCTION garun.users_like(UUID, TEXT) IS
    'Ids of the users whose company or e-mail contains the text, which is in lower case.';
