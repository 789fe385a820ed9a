---@meta garun.analytics
--- What the analytics functions of the database say, for scripts, reports and the prompt: one function for each SQL function.
---
---     local analytics <const> = require "garun.analytics"
---     local db <close> = require("garun.pg").connect()
---     local tenant <const> = require("garun.tenant").find(db, "acme").id
---     local carts <const> = analytics.cart_abandonment_tasks(db, { tenant = tenant, from = "2024-01-01", limit = 20 })
---     for _, cart in ipairs(carts.data) do print(cart.event_date, cart.customer_name, cart.total_value) end
---
--- db is a connection, in a transaction or not; option tenant is always required. Dates are "YYYY-MM-DD" and mean
--- event_date, inclusive, absent: open; location is the branch of the event. A tenant that does not exist has no rows.
---
--- Answers are decoded as garun.json does it: empty arrays stay arrays, counts are integers, null members are absent (nil)
--- unless option nulls = true keeps them as json.null. Money and quantities are JSON numbers: an integer when the database
--- writes none of their decimals (12), else a float (12.5; 12.50 is 12.5), which has every cent up to some 90 trillion;
--- format with %.2f. An integer beyond 64 bits is a string of its digits.
---
--- Functions that give pages return the envelope { data, total, page, limit, has_more }: data the rows of the page, total
--- of all pages. A page past the end has no rows and the true total. analytics.pages gives the rows of all pages.
---
--- Raises kind "usage" before anything is sent for an unknown option, a missing one and a value that is none, naming the
--- option; and kind "pg" for what fails at the server.

local analytics = {}

---@class garun.analytics.Common
---@field tenant string tenant_config.id, a UUID
---@field nulls? boolean true: null members are json.null; default false: absent
---@field timeout? number seconds for the answer; default: the connection's

---@class garun.analytics.PageOptions: garun.analytics.Common
---@field page? integer from 1; default 1
---@field limit? integer rows of a page, 1 to 1000; default 50

---@class garun.analytics.TaskOptions: garun.analytics.PageOptions
---@field query? string a part of what the function says, in any case; "" is all
---@field location? string id of a branch; default: all
---@field from? string first day, YYYY-MM-DD
---@field to? string last day, inclusive

---@class garun.analytics.Page
---@field data table[] the page's rows
---@field total integer rows of all pages
---@field page integer
---@field limit integer
---@field has_more boolean whether there is a next page

--- Purchase follow-ups, newest first: one row per order: transaction_id, event_date, order_value (absent: unknown),
--- page_location, ga_session_id, user_id, customer_name, email, phone, office_phone, products (the items as they came).
--- query: customer, e-mail, transaction id, product name or id.
---
---     local first <const> = analytics.purchase_tasks(db, { tenant = tenant, query = "bolt", from = "2024-01-01" })
---     print(first.total, first.data[1] and first.data[1].order_value)
---@async
---@param db pg.Conn
---@param opts garun.analytics.TaskOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.purchase_tasks(db, opts) end

--- Carts to recover, highest value first: one row per session that put something into its cart and whose user did not buy
--- after that: session_id, event_date, last_activity, items_count, total_value, the user's fields as in purchase_tasks,
--- products { item_id, item_name, item_category, price, quantity }. query: customer, e-mail, product name or id.
---
---     local top <const> = analytics.cart_abandonment_tasks(db, { tenant = tenant, location = "D01", limit = 10 }).data
---@async
---@param db pg.Conn
---@param opts garun.analytics.TaskOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.cart_abandonment_tasks(db, opts) end

---@class garun.analytics.SearchOptions: garun.analytics.TaskOptions
---@field include_converted? boolean also searches of sessions that bought, as search_type "converted"; default false

--- Searches to look at, most searched first: one row per session, term and type: search_term, search_type ("no_results",
--- "no_conversion", "converted"), search_count, session_id, event_date, the user's fields. Beside the envelope top_terms,
--- whatever query says: the 20 most frequent { search_term, search_count, sessions, zero_results }. query: term, customer,
--- e-mail.
---
---     for _, top in ipairs(analytics.search_analysis_tasks(db, { tenant = tenant }).top_terms) do
---       print(top.search_term, top.search_count, top.zero_results)
---     end
---@async
---@param db pg.Conn
---@param opts garun.analytics.SearchOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.search_analysis_tasks(db, opts) end

--- Visitors to win, most visits first: users with 2 or more visits and no purchase: visitor_id, visits, page_views_count,
--- products_viewed, products_details { title, url, category, price }, last_activity, event_date, the user's fields.
--- query: customer, e-mail.
---
---     local again <const> = analytics.repeat_visit_tasks(db, { tenant = tenant, from = "2024-01-01", to = "2024-01-31" })
---@async
---@param db pg.Conn
---@param opts garun.analytics.TaskOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.repeat_visit_tasks(db, opts) end

---@class garun.analytics.DashboardOptions: garun.analytics.Common
---@field from? string first day, YYYY-MM-DD; default: the first with data
---@field to? string last day, inclusive; default: the last with data
---@field granularity? "hourly"|"4hours"|"12hours"|"daily"|"weekly"|"monthly" of chartData; default "daily"
---@field location? string id of a branch; default: all

--- Everything a dashboard shows. metrics: totalRevenue, totalPurchases (orders), totalVisitors (visits), abandonedCarts,
--- uniqueUsers, totalSearches, failedSearches, repeatVisits, conversionRate (orders / visits). chartData: buckets in order,
--- empty ones too: { date, revenue, purchases, visitors, carts, searches }. locationStats: per branch, most revenue first,
--- events of no known branch last with no locationId: { locationId, locationName, city, state, totalRevenue,
--- totalPurchases, totalVisitors, abandonedCarts, repeatVisits, failedSearches }. A chart of more than 100000 buckets
--- raises kind "usage", code "22023".
---
---     local month <const> = analytics.dashboard(db, { tenant = tenant, from = "2024-01-01", to = "2024-01-31" })
---     print(month.metrics.totalRevenue, #month.chartData)
---@async
---@param db pg.Conn
---@param opts garun.analytics.DashboardOptions
---@return { metrics: table, chartData: table[], locationStats: table[] }
---@nodiscard
function analytics.dashboard(db, opts) end

---@class garun.analytics.SessionOptions: garun.analytics.Common
---@field session string ga_session_id, as session_id in rows

--- What happened in a session, oldest first, at most the newest 1000 events: { event_timestamp (ISO 8601 UTC), event_type
--- (the table's name), session_id, user_pseudo_id, details }. An id may be several people's; an unknown one gives {}.
---
---     for _, e in ipairs(analytics.session_history(db, { tenant = tenant, session = "1704067200" })) do
---       print(e.event_timestamp, e.event_type, e.details.page_location)
---     end
---@async
---@param db pg.Conn
---@param opts garun.analytics.SessionOptions
---@return table[]
---@nodiscard
function analytics.session_history(db, opts) end

---@class garun.analytics.UserOptions: garun.analytics.Common
---@field user string webuserid, or an anonymous visitor's user_pseudo_id

--- What a user did: the events of the user's own sessions as in session_history, oldest first, at most the newest 1000.
---
---     local events <const> = analytics.user_history(db, { tenant = tenant, user = "4711" })
---@async
---@param db pg.Conn
---@param opts garun.analytics.UserOptions
---@return table[]
---@nodiscard
function analytics.user_history(db, opts) end

---@class garun.analytics.PerformanceOptions: garun.analytics.PageOptions
---@field location? string id of a branch; default: all
---@field from? string first day, YYYY-MM-DD
---@field to? string last day, inclusive

--- Bounces: visits of one single page, newest first. data is no array here but { bounced_sessions = rows of the page:
--- { session_id, event_date, entry_page, the user's fields }, frequently_bounced_pages = the 10 most frequent
--- { entry_page, bounce_count } }; total counts the sessions.
---
---     local worst <const> = analytics.performance_tasks(db, { tenant = tenant }).data.frequently_bounced_pages[1]
---@async
---@param db pg.Conn
---@param opts garun.analytics.PerformanceOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.performance_tasks(db, opts) end

--- The branches by name: { location_id, location_name, city, state }.
---
---     for _, l in ipairs(analytics.locations(db, { tenant = tenant })) do print(l.location_id, l.location_name) end
---@async
---@param db pg.Conn
---@param opts garun.analytics.Common
---@return table[]
---@nodiscard
function analytics.locations(db, opts) end

--- What there is: { first_day, last_day, total_events, tables = { purchase = { events, first_day, last_day }, ... },
--- days = { { date, purchase, add_to_cart, page_view, view_item, view_search_results, no_search_results }, ... } }, days the
--- last 90 that have events, oldest first.
---
---     print(analytics.data_availability(db, { tenant = tenant }).last_day)
---@async
---@param db pg.Conn
---@param opts garun.analytics.Common
---@return table
---@nodiscard
function analytics.data_availability(db, opts) end

---@class garun.analytics.JobOptions: garun.analytics.PageOptions
---@field status? "queued"|"processing"|"completed"|"failed" default: all

--- The rows of processing_jobs, newest first, all columns, times as ISO 8601 UTC.
---
---     local failed <const> = analytics.processing_jobs(db, { tenant = tenant, status = "failed" })
---@async
---@param db pg.Conn
---@param opts garun.analytics.JobOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.processing_jobs(db, opts) end

--- The rows of email_sending_jobs, newest first, all columns, times as ISO 8601 UTC.
---
---     local running <const> = analytics.email_jobs(db, { tenant = tenant, status = "processing" }).total
---@async
---@param db pg.Conn
---@param opts garun.analytics.JobOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.email_jobs(db, opts) end

---@class garun.analytics.EmailOptions: garun.analytics.PageOptions
---@field status? string as the rows have it; default: all
---@field branch? string branch_code; default: all
---@field from? string first report_date, YYYY-MM-DD
---@field to? string last report_date, inclusive

--- The rows of email_send_history, newest first, all columns, times as ISO 8601 UTC.
---
---     local sent <const> = analytics.email_send_history(db, { tenant = tenant, branch = "D01", from = "2024-01-01" })
---@async
---@param db pg.Conn
---@param opts garun.analytics.EmailOptions
---@return garun.analytics.Page
---@nodiscard
function analytics.email_send_history(db, opts) end

--- Each row over all pages, for a loop; pages of 1000 are fetched as the loop needs them, so a loop that is left early
--- fetches no more. A load between two pages may shift rows over the border of a page: for the rows of one moment loop in a
--- transaction with isolation = "repeatable read". fn is one of the functions that give a garun.analytics.Page; of
--- performance_tasks the rows are the bounced_sessions.
---
---     for order in analytics.pages(analytics.purchase_tasks, db, { tenant = tenant, from = "2024-01-01" }) do
---       print(order.transaction_id, order.order_value)
---     end
---@async
---@param fn fun(db: pg.Conn, opts: table): garun.analytics.Page
---@param db pg.Conn
---@param opts table of fn, without page and limit
---@return fun(): table?
---@nodiscard
function analytics.pages(fn, db, opts) end

return analytics
