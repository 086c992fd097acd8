// dynalite on a free port of 127.0.0.1: `node server.js <file to write the port to>`. See start.sh.
'use strict';

const fs = require('node:fs');
const dynalite = require('dynalite');

const portFile = process.argv[2];
const lifetimeSeconds = Number(process.env.DYNAMODB_LIFETIME || 1800);

// Tables are usable at once: the clients under test poll for ACTIVE every 10 s.
const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 });
// One line for each request, for whoever counts them: when, what, on which table.
const requests = process.env.DYNAMODB_REQUESTS && fs.createWriteStream(process.env.DYNAMODB_REQUESTS, { flags: 'a' });
if (requests) {
  server.prependListener('request', (request) => {
    const body = [];
    request.on('data', (piece) => body.push(piece));
    request.on('end', () => {
      const [, operation] = String(request.headers['x-amz-target']).split('.');
      const [, table] = /"TableName":"([^"]*)"/.exec(Buffer.concat(body)) || [];
      requests.write(`${Date.now()} ${operation} ${table}\n`);
    });
  });
}
// The default of 5 s closes connections under clients that keep them in a pool.
server.keepAliveTimeout = 120000;
server.listen(Number(process.env.DYNAMODB_PORT || 0), '127.0.0.1', () => {
  // Written under another name first: whoever waits for the file must not read an empty one.
  fs.writeFileSync(`${portFile}.new`, `${server.address().port}\n`);
  fs.renameSync(`${portFile}.new`, portFile);
});
server.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
setTimeout(() => process.exit(3), lifetimeSeconds * 1000);
