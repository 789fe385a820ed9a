// bigquery_node_check: Google's own client against the fixture server; whatever it cannot read, no client should.
//
//     node bigquery_node_check.js URL      @google-cloud/bigquery must be found (NODE_PATH); prints "ok" or fails
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const {BigQuery} = require('@google-cloud/bigquery');

const url = process.argv[2];
const schema = [
  {name: 'event_date', type: 'STRING', mode: 'NULLABLE'},
  {name: 'event_timestamp', type: 'INTEGER', mode: 'NULLABLE'},
  {name: 'event_name', type: 'STRING', mode: 'NULLABLE'},
  {name: 'value', type: 'FLOAT', mode: 'NULLABLE'},
  {name: 'active', type: 'BOOLEAN', mode: 'NULLABLE'},
  {name: 'params', type: 'RECORD', mode: 'REPEATED', fields: [
    {name: 'key', type: 'STRING', mode: 'NULLABLE'},
    {name: 'value', type: 'RECORD', mode: 'NULLABLE', fields: [
      {name: 'string_value', type: 'STRING', mode: 'NULLABLE'},
      {name: 'int_value', type: 'INTEGER', mode: 'NULLABLE'}]}]},
];
const rows = [];
for (let i = 0; i < 250; i++) {
  rows.push({event_date: '20240105', event_timestamp: String(9007199254740993n + BigInt(i)),
    event_name: i % 3 ? 'page_view' : 'purchase', value: i % 5 ? i * 0.25 : null, active: i % 2 === 0,
    params: i % 7 ? [{key: 'ü"\\', value: {string_value: null, int_value: String(i)}}, {key: null, value: null}] : []});
}

async function control(what, body) {
  const r = await fetch(`${url}/control/${what}`, {method: 'POST', body: JSON.stringify(body)});
  assert.strictEqual(r.status, 200, await r.text());
}

function plain(row) {
  return JSON.parse(JSON.stringify(row, (k, v) => (v && v.type === 'BigQueryInt' ? v.value : v)));
}

async function main() {
  const {publicKey, privateKey} = crypto.generateKeyPairSync('rsa', {modulusLength: 2048,
    publicKeyEncoding: {type: 'spki', format: 'pem'}, privateKeyEncoding: {type: 'pkcs8', format: 'pem'}});
  await control('settings', {auth: true, page_rows: 40, shard_rows: 100, buckets: ['bucket']});
  await control('accounts', {email: 'node@example.iam', public_key: publicKey});
  await control('tables', {project: 'p', dataset: 'd', table: 'events_20240105', schema, rows});
  await control('tables', {project: 'p', dataset: 'd', table: 'events_20240106', schema, rows: []});

  const bq = new BigQuery({projectId: 'p', apiEndpoint: url,
    credentials: {client_email: 'node@example.iam', private_key: privateKey}});
  // The client knows one token endpoint only; here is another.
  const auth = await bq.authClient.getClient();
  auth.transporter.interceptors.request.add({resolved: async config => {
    const asked = new URL(config.url);
    if (asked.hostname.endsWith('googleapis.com')) config.url = new URL(url + asked.pathname);
    return config;
  }});

  const all = 'SELECT * FROM `p.d.events_20240105` AS t';
  // Its short way forgets wrapIntegers behind the first page; the long way does not.
  const rounded = r => JSON.parse(JSON.stringify(r, (k, v) => (k === 'int_value' || k === 'event_timestamp' ? Number(v) : v)));
  const [short] = await bq.query(all);
  assert.deepStrictEqual(short, rows.map(rounded));
  const [long] = await bq.createQueryJob({query: all, jobId: 'job-of-mine'});
  const [exact] = await long.getQueryResults({wrapIntegers: true});
  assert.deepStrictEqual(exact.map(plain), rows);
  await assert.rejects(bq.createQueryJob({query: all, jobId: 'job-of-mine'}), /Already Exists/);
  const [named] = await bq.query({query: 'SELECT event_timestamp FROM `p.d.events_20240105` WHERE event_name IN UNNEST(@t)',
    params: {t: ["purchase"]}});
  assert.strictEqual(named.length, rows.filter(r => r.event_name === 'purchase').length);
  const [texts] = await bq.query('SELECT TO_JSON_STRING(t) AS event FROM `p.d.events_20240105` AS t');
  assert.strictEqual(JSON.parse(texts[1].event).params[0].value.int_value, 1);
  assert.strictEqual(JSON.parse(texts[1].event).event_timestamp, rows[1].event_timestamp);
  const [stripped] = await bq.query('SELECT TO_JSON_STRING(JSON_STRIP_NULLS(TO_JSON(t))) AS e FROM `p.d.events_20240105` AS t');
  assert.deepStrictEqual(JSON.parse(stripped[1].e).params, [{key: 'ü"\\', value: {int_value: 1}}, {}]);
  await assert.rejects(bq.query('SELECT nothing FROM `p.d.events_20240105`'), /Unrecognized name: nothing/);
  await assert.rejects(bq.query('SELECT * FROM `p.d.events_20200101`'), /Not found: Table/);

  const [dry] = await bq.createQueryJob({query: all, dryRun: true});
  assert.ok(Number(dry.metadata.statistics.totalBytesProcessed) > 1000);

  const [tables] = await bq.dataset('d').getTables();
  assert.deepStrictEqual(tables.map(t => t.id), ['events_20240105', 'events_20240106']);
  const [metadata] = await bq.dataset('d').table('events_20240105').getMetadata();
  assert.strictEqual(metadata.numRows, '250');
  const [data] = await bq.dataset('d').table('events_20240105').getRows();      // forgets wrapIntegers, too
  assert.deepStrictEqual(data, rows.map(rounded));
  assert.deepStrictEqual((await bq.dataset('d').table('events_20240106').getRows())[0], []);

  const [job] = await bq.createJob({configuration: {extract: {
    sourceTable: {projectId: 'p', datasetId: 'd', tableId: 'events_20240105'},
    destinationUris: ['gs://bucket/x/events_20240105-*.json.gz'], destinationFormat: 'NEWLINE_DELIMITED_JSON',
    compression: 'GZIP'}}});
  let state = job.metadata;
  while (state.status.state !== 'DONE') [state] = await job.getMetadata();
  assert.strictEqual(state.status.errorResult, undefined);
  assert.deepStrictEqual(state.statistics.extract.destinationUriFileCounts, ['3']);
  console.log('ok');
}

main().catch(e => {
  console.error(e);
  process.exit(1);
});
