CREATE OR REPLACE FUNCTION get_email_jobs(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
    p_status TEXT DEFAULT NULL
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, NULL, NULL);
    PERFORM garun.check_page(p_page, p_limit);
    SELECT count(*) INTO v_total FROM email_sending_jobs
     WHERE tenant_id = p_tenant_id AND (p_status IS NULL OR status = p_status);
    SELECT jsonb_agg(to_jsonb(j) || jsonb_build_object('created_at', garun.utc(j.created_at),
               'started_at', garun.utc(j.started_at), 'completed_at', garun.utc(j.completed_at),
               'updated_at', garun.utc(j.updated_at)) ORDER BY j.created_at DESC NULLS LAST, j.id) INTO v_data
      FROM (SELECT * FROM email_sending_jobs
             WHERE tenant_id = p_tenant_id AND (p_status IS NULL OR status = p_status)
             ORDER BY created_at DESC NULLS LAST, id
             LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit) j;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_email_jobs(UUID, INTEGER, INTEGER, TEXT) IS
'The rows of email_sending_jobs, newest first, all columns, times as ISO 8601 UTC. p_page from 1, p_limit 1 to 1000;
p_status: queued, processing, completed, failed, null: all. Raises 22023 for arguments out of range.';
