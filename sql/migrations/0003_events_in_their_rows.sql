-- Three events to a page. A row of more than 2 kB is made shorter until it has toast_tuple_target, 2 kB by default: a
-- GA4 event of 2.0 to 2.7 kB was compressed, and where it then was a few bytes too long still, moved out into the TOAST
-- table, with its index. Both together were a tenth of what a load costs the server. Now such an event stays as it is;
-- longer ones are compressed as before, and stay in the row where 2.7 kB are enough. Costs up to a fifth more disk for
-- events of that length. Rows that are there already stay as they are (PostgreSQL manual, CREATE TABLE, Storage
-- Parameters).

ALTER TABLE page_view SET (toast_tuple_target = 2700);
ALTER TABLE view_item SET (toast_tuple_target = 2700);
ALTER TABLE add_to_cart SET (toast_tuple_target = 2700);
ALTER TABLE purchase SET (toast_tuple_target = 2700);
ALTER TABLE view_search_results SET (toast_tuple_target = 2700);
ALTER TABLE no_search_results SET (toast_tuple_target = 2700);
