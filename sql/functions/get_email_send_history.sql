CREATE OR REPLACE FUNCTION get_email_send_history(
    p_tenant_id UUID,
    p_page INTEGER,
    p_limit INTEGER,
    p_status TEXT DEFAULT NULL,
    p_branch_code TEXT DEFAULT NULL,
    p_start_date DATE DEFAULT NULL,
    p_end_date DATE DEFAULT NULL
) RETURNS JSONB
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY INVOKER
SET search_path = public, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_total BIGINT;
    v_data  JSONB;
BEGIN
    PERFORM garun.check_range(p_tenant_id, p_start_date, p_end_date);
    PERFORM garun.check_page(p_page, p_limit);
    WITH found AS NOT MATERIALIZED (
        SELECT * FROM email_send_history
         WHERE tenant_id = p_tenant_id AND (p_status IS NULL OR status = p_status)
           AND (p_branch_code IS NULL OR branch_code = p_branch_code)
           AND (p_start_date IS NULL OR report_date >= p_start_date)
           AND (p_end_date IS NULL OR report_date <= p_end_date)
    )
    SELECT (SELECT count(*) FROM found), (
        SELECT jsonb_agg(to_jsonb(h) || jsonb_build_object('sent_at', garun.utc(h.sent_at))
                         ORDER BY h.sent_at DESC NULLS LAST, h.id)
          FROM (SELECT * FROM found ORDER BY sent_at DESC NULLS LAST, id
                 LIMIT p_limit OFFSET (p_page - 1)::bigint * p_limit) h)
      INTO v_total, v_data;
    RETURN garun.envelope(v_data, v_total, p_page, p_limit);
END
$$;

COMMENT ON FUNCTION get_email_send_history(UUID, INTEGER, INTEGER, TEXT, TEXT, DATE, DATE) IS
'The rows of email_send_history, newest first, all columns, times as ISO 8601 UTC. p_page from 1, p_limit 1 to 1000;
p_status and p_branch_code:
null: all; p_start_date, p_end_date: report_date, inclusive, null: open. Raises 22023 for arguments out of range.';
