-- Derives a day's rows of session_days, visitor_days, cart_days, purchases, search_days, hour_stats, day_stats and
-- event_days from the event tables, and settles what hangs together with other days: a session that crosses midnight, a
-- visitor who comes again, an order that was reported again. One at a time per tenant, from here to the end of the
-- transaction, for two days that are loaded side by side may share a session and would not see each other's.

CREATE OR REPLACE FUNCTION garun.rollup(p_tenant_id UUID, p_day DATE, p_rows JSONB DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = public, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
SET work_mem = '64MB'
-- In a load nothing is known yet about what it has just written: the planner takes a day for a row and would join every
-- row with every other. These are the ways that hold for one row and for a million.
SET enable_nestloop = off
SET enable_mergejoin = off
SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    v_zone     TEXT;
    v_plain    BOOLEAN;
    v_offset   INTEGER;
    v_pseudos  TEXT[];      -- with v_sessions: sessions that had other rows too, before or now
    v_sessions TEXT[];
    v_orders   TEXT[];      -- transaction ids of the day, old and new
    v_a        BIGINT[];    -- with v_b: the visitors the day had before
    v_b        BIGINT[];
    v_settled  RECORD;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('garun.rollup ' || p_tenant_id, 0));
    SELECT time_zone INTO v_zone FROM tenant_config WHERE id = p_tenant_id;
    v_zone := coalesce(v_zone, 'UTC');
    v_offset := garun.day_offset(p_day, v_zone);

    WITH gone AS (
        DELETE FROM garun.session_days WHERE tenant_id = p_tenant_id AND event_date = p_day
        RETURNING user_pseudo_id, ga_session_id, alone)
    SELECT array_agg(user_pseudo_id) FILTER (WHERE NOT alone), array_agg(ga_session_id) FILTER (WHERE NOT alone)
      INTO v_pseudos, v_sessions FROM gone;
    WITH gone AS (
        DELETE FROM garun.purchases WHERE tenant_id = p_tenant_id AND event_date = p_day RETURNING transaction_id)
    SELECT array_agg(DISTINCT transaction_id) INTO v_orders FROM gone WHERE transaction_id NOT IN ('', '(not set)');
    WITH gone AS (
        DELETE FROM garun.visitor_days WHERE tenant_id = p_tenant_id AND event_date = p_day RETURNING visitor_a, visitor_b)
    SELECT array_agg(visitor_a), array_agg(visitor_b) INTO v_a, v_b FROM gone;
    DELETE FROM garun.cart_days WHERE tenant_id = p_tenant_id AND event_date = p_day;
    DELETE FROM garun.search_days WHERE tenant_id = p_tenant_id AND event_date = p_day;
    DELETE FROM garun.hour_stats WHERE tenant_id = p_tenant_id AND event_date = p_day;
    DELETE FROM garun.day_stats WHERE tenant_id = p_tenant_id AND event_date = p_day;
    DELETE FROM garun.event_days WHERE tenant_id = p_tenant_id AND event_date = p_day;

    IF p_rows IS NULL THEN
        p_rows := jsonb_build_object(
            'page_view', (SELECT count(*) FROM page_view WHERE tenant_id = p_tenant_id AND event_date = p_day),
            'view_item', (SELECT count(*) FROM view_item WHERE tenant_id = p_tenant_id AND event_date = p_day),
            'add_to_cart', (SELECT count(*) FROM add_to_cart WHERE tenant_id = p_tenant_id AND event_date = p_day),
            'purchase', (SELECT count(*) FROM purchase WHERE tenant_id = p_tenant_id AND event_date = p_day),
            'view_search_results',
                (SELECT count(*) FROM view_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day),
            'no_search_results',
                (SELECT count(*) FROM no_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day));
    END IF;
    INSERT INTO garun.event_days (tenant_id, event_date, page_view, view_item, add_to_cart, purchase,
           view_search_results, no_search_results, time_zone)
    SELECT p_tenant_id, p_day, coalesce(page_view, 0), coalesce(view_item, 0), coalesce(add_to_cart, 0),
           coalesce(purchase, 0), coalesce(view_search_results, 0), coalesce(no_search_results, 0), v_zone
      FROM jsonb_to_record(p_rows) AS n(page_view INTEGER, view_item INTEGER, add_to_cart INTEGER, purchase INTEGER,
                                        view_search_results INTEGER, no_search_results INTEGER)
     WHERE greatest(page_view, view_item, add_to_cart, purchase, view_search_results, no_search_results) > 0;

    -- Every event of a session once. The greatest (time, webuserid) as one text is the last webuserid, without sorting.
    -- Timestamps are numbers, and a cast is ten times as quick as garun.micros, which looks before it casts; it is asked
    -- when a cast fails.
    -- Rows go in by branch, here and below: one branch's day is then a few pages in a row, not a page for each row.
    FOREACH v_plain IN ARRAY ARRAY[true, false] LOOP
        BEGIN
            INSERT INTO garun.session_days (tenant_id, event_date, branch_id, user_pseudo_id, ga_session_id, events, page_views,
                   last_at, page_view_at, hours, alone, webuserid, own_webuserid, webuserid_at, pages, page)
            SELECT p_tenant_id, p_day, branch, pseudo, session, events, page_views, last_at, page_view_at,
                   hours, true,
                   substr(last_webuser, 19), substr(last_webuser, 19), substr(last_webuser, 1, 18)::bigint,
                   CASE WHEN first_page IS NULL THEN 0 WHEN first_page = last_page THEN 1 ELSE 2 END,
                   CASE WHEN first_page = last_page THEN first_page END
              FROM (
                SELECT branch, pseudo, session, count(*) AS events, count(view) AS page_views,
                       max(at) AS last_at, max(at) FILTER (WHERE view) AS page_view_at,
                       max(CASE WHEN webuser IS NOT NULL
                           THEN lpad(coalesce(at, 0)::text, 18, '0') || webuser END COLLATE "C") AS last_webuser,
                       coalesce(bit_or(1 << garun.hour_of(at, p_day, v_zone, v_offset)) FILTER (WHERE view), 0) AS hours,
                       min(page COLLATE "C") AS first_page, max(page COLLATE "C") AS last_page
                  FROM (
                    SELECT user_prop_default_branch_id AS branch, user_pseudo_id AS pseudo, param_ga_session_id AS session,
                           user_prop_webuserid AS webuser, garun.micros(event_timestamp, v_plain) AS at, true AS view,
                           split_part(split_part(param_page_location, '#', 1), '?', 1) AS page
                      FROM page_view WHERE tenant_id = p_tenant_id AND event_date = p_day
                    UNION ALL
                    SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, user_prop_webuserid,
                           garun.micros(event_timestamp, v_plain), NULL, NULL
                      FROM view_item WHERE tenant_id = p_tenant_id AND event_date = p_day
                    UNION ALL
                    SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, user_prop_webuserid,
                           garun.micros(event_timestamp, v_plain), NULL, NULL
                      FROM add_to_cart WHERE tenant_id = p_tenant_id AND event_date = p_day
                    UNION ALL
                    SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, user_prop_webuserid,
                           garun.micros(event_timestamp, v_plain), NULL, NULL
                      FROM purchase WHERE tenant_id = p_tenant_id AND event_date = p_day
                    UNION ALL
                    SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, user_prop_webuserid,
                           garun.micros(event_timestamp, v_plain), NULL, NULL
                      FROM view_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day
                    UNION ALL
                    SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, user_prop_webuserid,
                           garun.micros(event_timestamp, v_plain), NULL, NULL
                      FROM no_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day
                    OFFSET 0) AS events
                 WHERE pseudo IS NOT NULL AND session IS NOT NULL
                 GROUP BY branch, pseudo, session) AS found
             ORDER BY branch COLLATE "C";
            EXIT;
        EXCEPTION WHEN invalid_text_representation OR numeric_value_out_of_range THEN
            IF NOT v_plain THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    SELECT * INTO v_settled FROM garun.settle_shared(p_tenant_id, p_day, v_pseudos, v_sessions);
    v_pseudos := v_settled.p_pseudos;
    v_sessions := v_settled.p_sessions;

    INSERT INTO garun.cart_days (tenant_id, event_date, branch_id, user_pseudo_id, ga_session_id, last_at, alone,
           webuserid, items, value, products)
    SELECT p_tenant_id, p_day, c.user_prop_default_branch_id, c.user_pseudo_id, c.param_ga_session_id,
           max(garun.micros(c.event_timestamp)), bool_and(s.alone), max(s.webuserid),
           coalesce(sum(i.quantity), 0), coalesce(sum(i.price * i.quantity), 0),
           coalesce(string_agg(DISTINCT lower(concat_ws(E'\n', i.item_id, i.item_name)), E'\n'), '')
      FROM add_to_cart c
      JOIN garun.session_days s
        ON s.tenant_id = p_tenant_id AND s.event_date = p_day AND s.user_pseudo_id = c.user_pseudo_id
       AND s.ga_session_id = c.param_ga_session_id AND s.branch_id IS NOT DISTINCT FROM c.user_prop_default_branch_id
      LEFT JOIN LATERAL garun.items(c.items_json) i ON true
     WHERE c.tenant_id = p_tenant_id AND c.event_date = p_day
     GROUP BY c.user_prop_default_branch_id, c.user_pseudo_id, c.param_ga_session_id
     ORDER BY c.user_prop_default_branch_id COLLATE "C";

    INSERT INTO garun.purchases (tenant_id, event_date, purchase_id, at, is_order, branch_id, user_pseudo_id,
           ga_session_id, webuserid, transaction_id, revenue, products)
    SELECT p_tenant_id, p_day, p.id, garun.micros(p.event_timestamp), true, p.user_prop_default_branch_id,
           s.user_pseudo_id, s.ga_session_id, s.webuserid, p.param_transaction_id,
           p.ecommerce_purchase_revenue,
           coalesce((SELECT string_agg(DISTINCT lower(concat_ws(E'\n', i.item_id, i.item_name)), E'\n')
                       FROM garun.items(p.items_json) i), '')
      FROM purchase p
      LEFT JOIN garun.session_days s
        ON s.tenant_id = p_tenant_id AND s.event_date = p_day AND s.user_pseudo_id = p.user_pseudo_id
       AND s.ga_session_id = p.param_ga_session_id AND s.branch_id IS NOT DISTINCT FROM p.user_prop_default_branch_id
     WHERE p.tenant_id = p_tenant_id AND p.event_date = p_day
     ORDER BY p.user_prop_default_branch_id COLLATE "C";

    WITH searches AS (
        SELECT user_prop_default_branch_id AS branch, user_pseudo_id AS pseudo, param_ga_session_id AS session,
               garun.micros(event_timestamp) AS at, param_search_term AS term, true AS found
          FROM view_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day
        UNION ALL
        SELECT user_prop_default_branch_id, user_pseudo_id, param_ga_session_id, garun.micros(event_timestamp),
               param_no_search_results_term, false
          FROM no_search_results WHERE tenant_id = p_tenant_id AND event_date = p_day
        OFFSET 0
    ), terms AS MATERIALIZED (
        SELECT e.branch, s.user_pseudo_id AS pseudo, s.ga_session_id AS session, s.webuserid, coalesce(s.alone, true) AS alone,
               garun.term(e.term) AS term, e.found, garun.hour_of(e.at, p_day, v_zone, v_offset) AS hour,
               count(*) AS n, max(e.at) AS at
          FROM searches e
          LEFT JOIN garun.session_days s
            ON s.tenant_id = p_tenant_id AND s.event_date = p_day AND s.user_pseudo_id = e.pseudo
           AND s.ga_session_id = e.session AND s.branch_id IS NOT DISTINCT FROM e.branch
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ), hours AS (
        SELECT branch, hour, sum(n) AS searches, sum(n) FILTER (WHERE NOT found) AS failed FROM terms GROUP BY 1, 2
    ), shapes AS (
        SELECT branch_id AS branch, s.hours, count(*)::int AS n FROM garun.session_days s
         WHERE tenant_id = p_tenant_id AND event_date = p_day AND s.hours <> 0 GROUP BY 1, 2
    ), visits AS (
        SELECT branch, h AS hour, sum(n * (s.hours >> h & 1)) AS h1,
               sum(n) FILTER (WHERE h % 4 = 0 AND s.hours >> h & 15 <> 0) AS h4,
               sum(n) FILTER (WHERE h % 12 = 0 AND s.hours >> h & 4095 <> 0) AS h12
          FROM shapes s CROSS JOIN generate_series(0, 23) AS h GROUP BY 1, 2
    ), stats AS (
        INSERT INTO garun.hour_stats (tenant_id, event_date, hour, branch_id, visits, visits_4h, visits_12h,
               searches, failed_searches)
        SELECT p_tenant_id, p_day, hour, branch, coalesce(sum(h1), 0), coalesce(sum(h4), 0), coalesce(sum(h12), 0),
               coalesce(sum(searches), 0), coalesce(sum(failed), 0)
          FROM (SELECT branch, hour, h1, h4, h12, 0 AS searches, 0 AS failed FROM visits
                 WHERE h1 > 0 OR h4 > 0 OR h12 > 0
                UNION ALL SELECT branch, hour, 0, 0, 0, searches, failed FROM hours) AS both_kinds
         GROUP BY hour, branch
    ), day AS (
        INSERT INTO garun.day_stats (tenant_id, event_date, branch_id, searches, failed_searches)
        SELECT p_tenant_id, p_day, branch, coalesce(sum(searches), 0), coalesce(sum(failed), 0)
          FROM (SELECT branch, searches, failed FROM hours UNION ALL SELECT branch, 0, 0 FROM shapes) AS both_kinds
         GROUP BY branch
    )
    INSERT INTO garun.search_days (tenant_id, event_date, branch_id, user_pseudo_id, ga_session_id, webuserid, term,
           found, failed, found_at, failed_at, session_found, alone, bought)
    SELECT p_tenant_id, p_day, branch, pseudo, session, webuserid, term,
           coalesce(sum(n) FILTER (WHERE t.found), 0), coalesce(sum(n) FILTER (WHERE NOT t.found), 0),
           max(at) FILTER (WHERE t.found), max(at) FILTER (WHERE NOT t.found),
           coalesce(sum(sum(n) FILTER (WHERE t.found)) OVER (PARTITION BY branch, pseudo, session), 0), alone,
           EXISTS (SELECT FROM garun.purchases p WHERE p.tenant_id = p_tenant_id AND p.event_date = p_day
                      AND p.user_pseudo_id = pseudo AND p.ga_session_id = session)
      FROM terms t GROUP BY branch, pseudo, session, webuserid, alone, term
     ORDER BY branch COLLATE "C";

    PERFORM garun.settle_visitors(p_tenant_id, p_day, v_a, v_b, v_settled.visitors_a, v_settled.visitors_b, v_settled.days);
    PERFORM garun.settle_facts(p_tenant_id, v_pseudos, v_sessions);
    PERFORM garun.settle_orders(p_tenant_id, p_day, v_orders);
END
$$;

COMMENT ON FUNCTION garun.rollup(UUID, DATE, JSONB) IS
    'Derives garun''s rows of one day anew from the event tables: session_days, visitor_days, cart_days,
purchases, search_days, hour_stats, day_stats, event_days. Called by loads before COMMIT, by the triggers of the event
tables and by garun.rebuild.
p_rows: rows of the day per event table, for those who know them; null: they are counted. Takes an advisory lock per
tenant that ends with the transaction.';
