"""What drivers are made of, as LLVM code to be filled in.

``@NAME`` stands for a function's name, which `driver.DriverPrinter` chooses.
"""

NOTHING = "nothing"
"""What is read of an empty array, to be discarded."""

STARTED = "(i64 %threads, ptr %kernel, i64 %rows, i64 %chunks, ptr %words) nounwind"

KERNEL_MEMBER = """
define internal void @NAME(i64 %lo, i64 %hi, i64 %chunk, ptr %words) nounwind {{
  %up = add i64 %hi, {above}
  %low = lshr i64 %lo, {shift}
  %high = lshr i64 %up, {shift}
  %scale = load i64, ptr %words
  %first = mul i64 %low, %scale
  %last = mul i64 %high, %scale
  %own = getelementptr i64, ptr %words, i64 1
  call void @{kernel}(i64 %first, i64 %last, i64 %chunk, ptr %own)
  ret void
}}"""
"""Runs a kernel for rows lo to hi of a pipeline: it has `scale` rows for each of them, or
for each block of them."""

PRODUCT_MEMBER = """
define internal void @NAME(i64 %lo, i64 %hi, i64 %chunk, ptr %words) nounwind {{
  call void @graphc_rows_{letter}(i64 %lo, i64 %hi, ptr %words)
  ret void
}}"""

PREPARED = """
define internal void @NAME(i64 %threads, i64 %0, i64 %1, ptr %words) nounwind {{
  %own = getelementptr i64, ptr %words, i64 {words}
  call void @graphc_prepare_{letter}(ptr %own, ptr %words)
  ret void
}}"""

PACKED = """
define internal void @NAME(i64 %threads, i64 %0, i64 %1, ptr %words) nounwind {{
  call void @graphc_pack_{letter}(i64 %threads, ptr %words)
  ret void
}}"""

MEMBERS = """
define internal void @NAME(ptr %table, i64 %count, i64 %a, i64 %b, i64 %c, ptr %words)
nounwind {
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %done
body:
  %function_at = getelementptr {ptr, i64}, ptr %table, i64 %i, i32 0
  %place_at = getelementptr {ptr, i64}, ptr %table, i64 %i, i32 1
  %function = load ptr, ptr %function_at
  %place = load i64, ptr %place_at
  %own = getelementptr i64, ptr %words, i64 %place
  call void %function(i64 %a, i64 %b, i64 %c, ptr %own)
  %next = add i64 %i, 1
  br label %head
done:
  ret void
}"""
"""Calls the functions of a table, each with its words."""

PIPELINE = """
define internal void @NAME(i64 %first, i64 %last, i64 %chunk, ptr %words) nounwind {{
  %rows = load i64, ptr %words
  %lo = mul i64 %first, {block}
  %end = mul i64 %last, {block}
  %less = icmp slt i64 %end, %rows
  %hi = select i1 %less, i64 %end, i64 %rows
  call void @members(ptr @{members}, i64 {count}, i64 %lo, i64 %hi, i64 %chunk,
    ptr %words)
  ret void
}}"""

START_PIPELINE = f"""
define internal void @NAME{STARTED} {{{{
  call void @members(ptr @{{begun}}, i64 {{count}}, i64 %threads, i64 0, i64 0,
    ptr %words)
  call void @graphc_launch(i64 %threads, ptr @{{rows}}, i64 %rows, i64 %chunks,
    ptr %words)
  ret void
}}}}"""

LOOP = """
@table = internal constant [{length} x i64] [{table}]
@functions = internal constant [{count} x ptr] [{functions}]

define internal i64 @number(ptr %frame, ptr %at) nounwind {{
  %word = load i64, ptr %at
  %from = getelementptr i64, ptr %frame, i64 %word
  %base = load i64, ptr %from
  %addend_at = getelementptr i64, ptr %at, i64 1
  %addend = load i64, ptr %addend_at
  %sum = add i64 %base, %addend
  ret i64 %sum
}}

define internal ptr @function(ptr %at) nounwind {{
  %which = load i64, ptr %at
  %from = getelementptr ptr, ptr @functions, i64 %which
  %function = load ptr, ptr %from
  ret ptr %function
}}

define internal void @steps(ptr %frame, ptr %arguments) nounwind {{
entry:
  %threads_at = getelementptr i64, ptr %frame, i64 {threads}
  %threads = load i64, ptr %threads_at
  %end = getelementptr i64, ptr @table, i64 {length}
  br label %head
head:
  %step = phi ptr [ @table, %entry ], [ %at, %launch ]
  %more = icmp ult ptr %step, %end
  br i1 %more, label %begin, label %done
begin:
  %start = call ptr @function(ptr %step)
  %kernel_at = getelementptr i64, ptr %step, i64 1
  %kernel = call ptr @function(ptr %kernel_at)
  %count_at = getelementptr i64, ptr %step, i64 2
  %count = load i64, ptr %count_at
  %rows_at = getelementptr i64, ptr %step, i64 3
  %rows = call i64 @number(ptr %frame, ptr %rows_at)
  %chunks_at = getelementptr i64, ptr %step, i64 5
  %chunks = call i64 @number(ptr %frame, ptr %chunks_at)
  %first = getelementptr i64, ptr %step, i64 7
  br label %argument
argument:
  %i = phi i64 [ 0, %begin ], [ %i_next, %put ]
  %at = phi ptr [ %first, %begin ], [ %at_next, %put ]
  %left = icmp slt i64 %i, %count
  br i1 %left, label %put, label %launch
put:
  %value = call i64 @number(ptr %frame, ptr %at)
  %to = getelementptr i64, ptr %arguments, i64 %i
  store i64 %value, ptr %to
  %i_next = add i64 %i, 1
  %at_next = getelementptr i64, ptr %at, i64 2
  br label %argument
launch:
  call void %start(i64 %threads, ptr %kernel, i64 %rows, i64 %chunks, ptr %arguments)
  br label %head
done:
  ret void
}}
"""
