CREATE OR REPLACE FUNCTION get_locations(p_tenant_id UUID) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM garun.check_range(p_tenant_id, NULL, NULL);
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('location_id', location_id, 'location_name', location_name,
                       'city', city, 'state', state) ORDER BY location_name, location_id COLLATE "C"), '[]')
              FROM locations WHERE tenant_id = p_tenant_id);
END
$$;

COMMENT ON FUNCTION get_locations(UUID) IS
'The branches: a JSON array of {location_id, location_name, city, state} by name, those without one last.';
