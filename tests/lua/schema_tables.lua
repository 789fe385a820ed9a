-- What the tables of database.md are to PostgreSQL: columns in order with type, NOT NULL and default, then constraints,
-- then indexes. Written down here once, so that a change of sql/tables/ that breaks the contract fails a test.
return [[
add_to_cart
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  param_page_title character varying(500)
  param_page_location text
  first_item_item_id character varying(255)
  first_item_item_name character varying(500)
  first_item_item_category character varying(255)
  first_item_price numeric(10,2)
  first_item_quantity integer
  items_json jsonb
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  add_to_cart_pkey: PRIMARY KEY (id)
  add_to_cart_pkey: UNIQUE btree (id)
  idx_add_to_cart_session: btree (tenant_id, param_ga_session_id)
  idx_add_to_cart_tenant_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_add_to_cart_tenant_date: btree (tenant_id, event_date)
  idx_add_to_cart_tenant_user: btree (tenant_id, user_prop_webuserid)
branch_email_mappings
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  branch_code character varying(50) NOT NULL
  branch_name character varying(255)
  sales_rep_email character varying(255) NOT NULL
  sales_rep_name character varying(255)
  is_enabled boolean DEFAULT true
  created_at timestamp without time zone DEFAULT now()
  updated_at timestamp without time zone DEFAULT now()
  branch_email_mappings_pkey: PRIMARY KEY (id)
  branch_email_mappings_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  branch_email_mappings_pkey: UNIQUE btree (id)
  idx_branch_email_mappings_branch: btree (tenant_id, branch_code)
  idx_branch_email_mappings_tenant: btree (tenant_id)
email_send_history
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  job_id character varying(100)
  branch_code character varying(50)
  sales_rep_email character varying(255)
  sales_rep_name character varying(255)
  subject character varying(500)
  report_date date
  status character varying(50)
  smtp_response text
  error_message text
  sent_at timestamp without time zone DEFAULT now()
  email_send_history_pkey: PRIMARY KEY (id)
  email_send_history_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  email_send_history_pkey: UNIQUE btree (id)
  idx_email_history_tenant_date: btree (tenant_id, sent_at DESC)
  idx_email_send_history_job: btree (job_id)
  idx_email_send_history_sent: btree (sent_at DESC)
  idx_email_send_history_tenant: btree (tenant_id)
email_sending_jobs
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  job_id character varying(100) NOT NULL
  status character varying(50) NOT NULL DEFAULT 'queued'::character varying
  report_date date NOT NULL
  target_branches jsonb
  total_emails integer DEFAULT 0
  emails_sent integer DEFAULT 0
  emails_failed integer DEFAULT 0
  error_message text
  created_at timestamp without time zone DEFAULT now()
  started_at timestamp without time zone
  completed_at timestamp without time zone
  updated_at timestamp without time zone DEFAULT now()
  email_sending_jobs_job_id_key: UNIQUE (job_id)
  email_sending_jobs_pkey: PRIMARY KEY (id)
  email_sending_jobs_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  email_sending_jobs_job_id_key: UNIQUE btree (job_id)
  email_sending_jobs_pkey: UNIQUE btree (id)
  idx_email_sending_jobs_status: btree (status)
  idx_email_sending_jobs_tenant: btree (tenant_id)
locations
  location_id character varying(100) NOT NULL
  tenant_id uuid NOT NULL
  location_name character varying(255)
  city character varying(100)
  state character varying(100)
  created_at timestamp without time zone DEFAULT now()
  updated_at timestamp without time zone DEFAULT now()
  locations_pkey: PRIMARY KEY (tenant_id, location_id)
  locations_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  idx_locations_tenant: btree (tenant_id)
  locations_pkey: UNIQUE btree (tenant_id, location_id)
no_search_results
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  param_no_search_results_term character varying(500)
  param_page_title character varying(500)
  param_page_location text
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  no_search_results_pkey: PRIMARY KEY (id)
  idx_no_search_results_tenant_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_no_search_results_tenant_date: btree (tenant_id, event_date)
  idx_no_search_results_tenant_session: btree (tenant_id, param_ga_session_id)
  idx_no_search_results_tenant_user: btree (tenant_id, user_prop_webuserid)
  idx_no_search_results_term: btree (tenant_id, param_no_search_results_term)
  no_search_results_pkey: UNIQUE btree (id)
page_view
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  param_page_title character varying(500)
  param_page_location text
  param_page_referrer text
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  page_view_pkey: PRIMARY KEY (id)
  idx_page_view_session: btree (tenant_id, param_ga_session_id)
  idx_page_view_tenant_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_page_view_tenant_date: btree (tenant_id, event_date)
  idx_page_view_tenant_user: btree (tenant_id, user_prop_webuserid)
  page_view_pkey: UNIQUE btree (id)
processing_jobs
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  job_id character varying(100) NOT NULL
  status character varying(50) NOT NULL DEFAULT 'queued'::character varying
  data_types jsonb
  start_date date
  end_date date
  records_processed jsonb
  progress jsonb
  error_message text
  created_at timestamp without time zone DEFAULT now()
  started_at timestamp without time zone
  completed_at timestamp without time zone
  updated_at timestamp without time zone DEFAULT now()
  processing_jobs_job_id_key: UNIQUE (job_id)
  processing_jobs_pkey: PRIMARY KEY (id)
  processing_jobs_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  idx_processing_jobs_created: btree (created_at DESC)
  idx_processing_jobs_status: btree (status)
  idx_processing_jobs_tenant: btree (tenant_id)
  idx_processing_jobs_tenant_created: btree (tenant_id, created_at DESC)
  processing_jobs_job_id_key: UNIQUE btree (job_id)
  processing_jobs_pkey: UNIQUE btree (id)
purchase
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  param_transaction_id character varying(100)
  param_page_title character varying(500)
  param_page_location text
  ecommerce_purchase_revenue numeric(15,2)
  items_json jsonb
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  purchase_pkey: PRIMARY KEY (id)
  idx_purchase_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_purchase_revenue_covering: btree (tenant_id, event_date, user_prop_default_branch_id) INCLUDE (ecommerce_purchase_revenue)
  idx_purchase_tenant_date: btree (tenant_id, event_date)
  idx_purchase_tenant_session: btree (tenant_id, param_ga_session_id)
  idx_purchase_user: btree (tenant_id, user_prop_webuserid)
  purchase_pkey: UNIQUE btree (id)
tenant_config
  id uuid NOT NULL DEFAULT gen_random_uuid()
  name character varying(255) NOT NULL
  bigquery_project_id character varying(255)
  bigquery_dataset_id character varying(255)
  bigquery_credentials jsonb
  bigquery_enabled boolean DEFAULT true
  bigquery_validation_error text
  postgres_config jsonb NOT NULL
  sftp_config jsonb
  sftp_enabled boolean DEFAULT true
  sftp_validation_error text
  email_config jsonb
  smtp_enabled boolean DEFAULT true
  smtp_validation_error text
  is_active boolean DEFAULT true
  created_at timestamp without time zone DEFAULT now()
  updated_at timestamp without time zone DEFAULT now()
  tenant_config_pkey: PRIMARY KEY (id)
  tenant_config_pkey: UNIQUE btree (id)
users
  user_id character varying(100) NOT NULL
  tenant_id uuid NOT NULL
  buying_company_name character varying(255)
  email character varying(255)
  cell_phone character varying(50)
  office_phone character varying(50)
  created_at timestamp without time zone DEFAULT now()
  updated_at timestamp without time zone DEFAULT now()
  users_pkey: PRIMARY KEY (tenant_id, user_id)
  users_tenant_id_fkey: FOREIGN KEY (tenant_id) REFERENCES tenant_config(id)
  idx_users_email: btree (email)
  idx_users_tenant: btree (tenant_id)
  users_pkey: UNIQUE btree (tenant_id, user_id)
view_item
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  first_item_item_id character varying(255)
  first_item_item_name character varying(500)
  first_item_item_category character varying(255)
  first_item_price numeric(10,2)
  param_page_title character varying(500)
  param_page_location text
  items_json jsonb
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  view_item_pkey: PRIMARY KEY (id)
  idx_view_item_product: btree (tenant_id, first_item_item_id)
  idx_view_item_tenant_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_view_item_tenant_date: btree (tenant_id, event_date)
  idx_view_item_tenant_session: btree (tenant_id, param_ga_session_id)
  idx_view_item_tenant_user: btree (tenant_id, user_prop_webuserid)
  view_item_pkey: UNIQUE btree (id)
view_search_results
  id uuid NOT NULL DEFAULT gen_random_uuid()
  tenant_id uuid NOT NULL
  event_date date NOT NULL
  event_timestamp character varying(50)
  user_pseudo_id character varying(255)
  user_prop_webuserid character varying(100)
  user_prop_default_branch_id character varying(100)
  param_ga_session_id character varying(100)
  param_search_term character varying(500)
  param_page_title character varying(500)
  param_page_location text
  device_category character varying(50)
  device_operating_system character varying(50)
  geo_country character varying(100)
  geo_city character varying(100)
  raw_data jsonb
  view_search_results_pkey: PRIMARY KEY (id)
  idx_view_search_results_tenant_branch: btree (tenant_id, user_prop_default_branch_id)
  idx_view_search_results_tenant_date: btree (tenant_id, event_date)
  idx_view_search_results_tenant_session: btree (tenant_id, param_ga_session_id)
  idx_view_search_results_tenant_user: btree (tenant_id, user_prop_webuserid)
  idx_view_search_results_term: btree (tenant_id, param_search_term)
  view_search_results_pkey: UNIQUE btree (id)
]]
