// Points kinesalite's test-suite at another server: loaded by mocha with --require, nothing of the suite is changed.
//
//   KINESIS_PORT        port of the server under test on 127.0.0.1
//   KINESIS_TLS_PORT    its TLS port
//   KINESALITE_MODULES  folder whose node_modules hold the suite's libraries and the package kinesalite
'use strict'

const Module = require('module')
const http = require('http')
const https = require('https')
const path = require('path')

const port = Number(process.env.KINESIS_PORT)
const tlsPort = Number(process.env.KINESIS_TLS_PORT)
const modules = path.join(process.env.KINESALITE_MODULES, 'node_modules')

// The suite starts its own server from the folder above: it gets the one that runs already. Its arithmetic of sequence
// numbers (../db) comes from the published package. Libraries come from one folder, wherever the suite is.
const running = () => ({ listen: (_, done) => done(), close: (done) => done() })
const load = Module._load
Module._load = function (request, parent, isMain) {
  if (request === '..') return running
  if (request === '../db') return load(path.join(modules, 'kinesalite', 'db'), parent, isMain)
  return load(request, parent, isMain)
}
const lookup = Module._nodeModulePaths
Module._nodeModulePaths = (from) => [modules, ...lookup(from)]

const redirect = (client, to) => {
  const send = client.request
  client.request = (options, done) => send({ ...options, host: '127.0.0.1', hostname: undefined, port: to }, done)
}
redirect(http, port)
redirect(https, tlsPort)

// The suite signs for a host from which service and region cannot be guessed.
const aws4 = require(path.join(modules, 'aws4'))
const sign = aws4.sign
aws4.sign = (options) => sign(Object.assign(options, { service: 'kinesis', region: 'us-east-1' }))

// One after the other inside a test too: a failure is then charged to the test that had it.
const async = require(path.join(modules, 'async'))
async.forEach = async.each = async.eachSeries
async.parallel = async.series
