/** What the build does to the bundles beyond bundling (scripts/keep_const.mjs, scripts/plain_fields.mjs). */
import t from 'tap';

type Change = (source: string) => string;
const script = async (name: string) => (await import(new URL(`../../scripts/${name}`, import.meta.url).href)) as Record<string, Change>;
const keepConst = (await script('keep_const.mjs')).keepConst!;
const plainFields = (await script('plain_fields.mjs')).plainFields!;

const kept: readonly [claim: string, source: string][] = [
  ['what nothing assigns to', 'var a = 1, b = {};'],
  ['what a local of the same name is assigned to', 'var a = 1; function f(a) { a = 2; } const g = () => { if (f) { let a; a++; } };'],
  ['what a local out of a pattern is assigned to', 'var a = 1; function f({ b: [a = 3] }) { [a] = []; }'],
  ["what a function's own `var` is assigned to, further in", 'var a = 1; function f() { { var a; } a = 2; }'],
  ['what the property of something else is assigned to', 'var a = {}; a.b = 1; a.c++; ({ x: a.d } = {});'],
  ['a class', 'var A = class A { static x = 1; };'],
  ['a function', 'async function* f() {} var a = f();'],
  ['a function that others, called behind it, use', 'function f() { return g; } function g() {} f();'],
];

const left: readonly [claim: string, source: string][] = [
  ['what a function assigns to', 'var a = 1; function f() { a = 2; }'],
  ['what is counted', 'var a = 1; const f = () => a++;'],
  ['what a pattern assigns to', 'var a = 1; ({ b: [a] } = { b: [2] });'],
  ['what a loop assigns to', 'var a = 1; for (a of []);'],
  ['what has no value yet', 'var a;'],
  ['what is assigned to beside the block with a local of the same name', 'var a = 1; function f() { { let a; } a = 2; }'],
  ['one of two in a declaration', 'var a = 1, b = 2; b = 3;'],
];

const functionsLeft: readonly [claim: string, source: string][] = [
  ['that is called before it stands there', 'let a = f(); function f() {}'],
  ['that one called before uses', 'let a = f(); function f() { return g(); } function g() {}'],
  ['that somebody may call who is called before', 'const a = { b: () => f() }; a.b(); function f() {}'],
  ['that is a property called by the same name', 'const a = { f }.f(); function f() {}'],
  ['that something is assigned to', 'function f() {} f = 1;'],
];

t.test('top-level variables and functions of a bundle', (t) => {
  for (const [claim, source] of kept) t.match(keepConst(source), /^const /, `${claim} is constant`);
  for (const [claim, source] of left) t.match(keepConst(source), /^var /, `${claim} stays variable`);
  for (const [claim, source] of functionsLeft) t.equal(keepConst(source), source, `a function stays one ${claim}`);
  t.equal(
    keepConst('#!/usr/bin/env node\nvar a = 1;\n\nvar b = a;\n'),
    '#!/usr/bin/env node\nconst a = 1;\n\nconst b = a;\n',
    'lines stay where they are',
  );
  t.equal(keepConst('function f(a) {\n}\nf();\n'), 'const f = function (a) {\n};\nf();\n', 'also those of functions');
  t.end();
});

/** `/` stands for a constructor that assigns `a`; '' is the source as it was. */
// biome-ignore format: one claim a line
const fields: readonly [claim: string, source: string, plain: string][] = [
  ['a field that the constructor assigns goes', 'class A { a;/}', 'class A { /}'],
  ['it stays without a constructor', 'class A { a; }', ''],
  ['it stays if it is assigned in some cases only', 'class A { a; constructor() { if (b) this.a = 1; } }', ''],
  ['it stays if another object has it', 'class A { a; constructor() { b.a = this.b.a = this[a] = 1; } }', ''],
  ['it stays if it has a value', 'class A { a = 0;/}', ''],
  ["it stays if it is the class's own", 'class A { static a;/}', ''],
  ['two that are assigned at once go', 'class A { a;b; constructor() { this.b = this.a = 1; } }', 'class A {  constructor() { this.b = this.a = 1; } }'],
  ['a private one goes', 'class A { #a; constructor() { this.#a = 1; } }', 'class A {  constructor() { this.a$0 = 1; } }'],
  ['a private name becomes a plain one', 'class A { #a = 1; b(o) { return #a in o && o.#a; } }', "class A { a$0 = 1; b(o) { return 'a$0' in o && o.a$0; } }"],
  ['so does that of a method', 'class A { static #a() {} get #b() { A.#a(); } }', 'class A { static a$0() {} get b$0() { A.a$0(); } }'],
  ['another class has others', 'class A { #a = 1; } class B extends A { #a = 2; }', 'class A { a$0 = 1; } class B extends A { a$1 = 2; }'],
  ['a class in another sees the names of both', 'class A { #a; #b; c = class { #a; d(o) { o.#b = this.#a; } }; }', 'class A { a$0; b$0; c = class { a$1; d(o) { o.b$0 = this.a$1; } }; }'],
];

t.test('fields of classes', (t) => {
  const withConstructor = (source: string): string => source.replace('/', ' constructor() { this.a = 1; } ');
  for (const [claim, source, plain] of fields) t.equal(plainFields(withConstructor(source)), withConstructor(plain || source), claim);
  t.end();
});
