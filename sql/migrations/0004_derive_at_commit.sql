-- Days that somebody changes by hand are derived at the end of the transaction (garun.derive_day), no longer at the end of each
-- statement: a program that inserts row by row waited a second for each of them.

DROP TRIGGER IF EXISTS garun_derive ON purchase;
DROP TRIGGER IF EXISTS garun_derive ON add_to_cart;
DROP TRIGGER IF EXISTS garun_derive ON page_view;
DROP TRIGGER IF EXISTS garun_derive ON view_item;
DROP TRIGGER IF EXISTS garun_derive ON view_search_results;
DROP TRIGGER IF EXISTS garun_derive ON no_search_results;
DROP TRIGGER IF EXISTS garun_derive_truncate ON purchase;
DROP TRIGGER IF EXISTS garun_derive_truncate ON add_to_cart;
DROP TRIGGER IF EXISTS garun_derive_truncate ON page_view;
DROP TRIGGER IF EXISTS garun_derive_truncate ON view_item;
DROP TRIGGER IF EXISTS garun_derive_truncate ON view_search_results;
DROP TRIGGER IF EXISTS garun_derive_truncate ON no_search_results;
DROP TRIGGER IF EXISTS garun_note ON purchase;
DROP TRIGGER IF EXISTS garun_note ON add_to_cart;
DROP TRIGGER IF EXISTS garun_note ON page_view;
DROP TRIGGER IF EXISTS garun_note ON view_item;
DROP TRIGGER IF EXISTS garun_note ON view_search_results;
DROP TRIGGER IF EXISTS garun_note ON no_search_results;
DROP FUNCTION IF EXISTS garun.derive_changes();
