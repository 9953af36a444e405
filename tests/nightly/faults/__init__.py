"""Fault injection: runs of `lmhead train` that are killed, starved, damaged or cut off still end as they should.

    python -m tests.nightly.faults --trials 200     the nightly command: a table by kind, and status 1 on any loss

A trial is a subject (what is trained), an injury (what happens to it) and a seed. It is judged by the run that nothing
disturbed: after the injury somebody does what the messages say, and no more; then weights and logged losses have to be
the undisturbed run's, bit for bit.
"""
