// Compares what failed in a run of mocha with what is expected to fail.
'use strict'

const fs = require('fs')

const [report, list] = process.argv.slice(2)
const text = fs.readFileSync(report, 'utf8')
let run
try {
  run = JSON.parse(text)
} catch {
  console.error('kinesalite: mocha wrote no report')
  process.exit(1)
}
const expected = fs.readFileSync(list, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
const failed = new Map(run.failures.map((test) => [test.fullTitle, test.err.message]))
const known = new Set([...run.passes, ...run.failures].map((test) => test.fullTitle))

const wrong = []
for (const [title, message] of failed) {
  if (!expected.includes(title)) wrong.push(`fails: ${title}\n       ${String(message).slice(0, 600)}`)
}
for (const title of expected) {
  if (!known.has(title)) wrong.push(`is not in the suite: ${title}`)
  else if (!failed.has(title)) wrong.push(`passes, but is listed as a difference: ${title}`)
}
if (wrong.length > 0) {
  console.log(wrong.join('\n'))
  console.log(`kinesalite: ${wrong.length} differences from what is expected`)
  process.exit(1)
}
const { passes, failures } = run.stats
console.log(`kinesalite: ${passes} of ${passes + failures} cases pass; the other ${failures} contradict today's service, as listed`)
